//! Logs of pods: fetched from the kubelet of the pod's node, and handed on as they come.

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use super::{Subresource, place, stream};
use crate::body;
use crate::fault::{Details, Fault};
use crate::field::{FieldError, quoted};
use crate::request::{Call, RequestInfo, Response};
use crate::server::Server;

pub(super) const TABLE: &[Subresource] = &[Subresource {
    group: "",
    resource: "pods",
    name: "log",
    handler: |server, call| Box::pin(log(server, call)),
}];

/// How much of a kubelet's refusal is read, in bytes: upstream's figure, which is far more than one says.
const MOST_REFUSAL: usize = 50_000;

/// What the options of a request mean to the kubelet.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    query: String,
    verified: bool,
}

async fn log(server: &Server, call: Call) -> Result<Response, Fault> {
    let info = &call.info;
    let options = Options::read(info)?;
    let pod = stream::pod(server, info).await?;
    let container = place::container(&pod, info.param("container"))?;
    let Some(kubelet) = stream::kubelet(server, &pod, options.verified).await? else {
        // Nothing runs yet that could have said anything.
        let mut response = body::response(204, "text/plain", Bytes::new());
        response.headers_mut().remove(header::CONTENT_TYPE);
        return Ok(response);
    };
    let path = format!("/containerLogs/{}/{}/{container}{}", info.namespace, info.name, options.query);
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = path.parse().map_err(Fault::internal)?;
    let host = HeaderValue::from_str(&kubelet.authority()).map_err(Fault::internal)?;
    request.headers_mut().insert(header::HOST, host);
    let answer = server
        .backends()
        .send(server.context(), &kubelet, request)
        .await
        .map_err(|error| Fault::new(500, "", format!("Get {}: {error}", quoted(&kubelet.url(&path)))))?;
    if !(200..=206).contains(&answer.status().as_u16()) {
        return Err(refused(&info.name, answer).await);
    }
    let pieces = answer.into_body().map_err(std::io::Error::other).boxed_unsync();
    Ok(body::with_body(200, "text/plain", pieces))
}

/// What a kubelet's refusal is to the client.
async fn refused(pod: &str, answer: http::Response<Incoming>) -> Fault {
    let status = answer.status();
    let text = match Limited::new(answer.into_body(), MOST_REFUSAL).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => return Fault::internal(error),
    };
    refusal(pod, status, text)
}

fn refusal(pod: &str, status: StatusCode, text: String) -> Fault {
    let (reason, message) = match status.as_u16() {
        500 => return Fault::internal(text),
        400 => return Fault::bad_request(text),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials".to_owned()),
        403 => ("Forbidden", text),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned()),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be \
                processing the request"
                .to_owned(),
        ),
        501.. => {
            let why = format!(
                "an error on the server ({}) has prevented the request from succeeding",
                quoted(&text)
            );
            ("InternalError", why)
        }
        code => (
            "",
            format!("the server responded with the status code {code} but did not return more information"),
        ),
    };
    let mut fault = Fault::new(status.as_u16(), reason, format!("{message} ( pods/log {pod})"));
    fault.details =
        Some(Box::new(Details { name: pod.to_owned(), kind: "pods/log".to_owned(), ..Details::default() }));
    fault
}

impl Options {
    /// Reads and judges them.
    fn read(info: &RequestInfo) -> Result<Self, Fault> {
        let since_time = since_time(info)?;
        let [since_seconds, tail, limit] =
            [info.number("sinceSeconds")?, info.number("tailLines")?, info.number("limitBytes")?];
        let mut errors = Vec::new();
        if let Some(lines) = tail.filter(|lines| *lines < 0) {
            errors.push(FieldError::invalid("tailLines", lines, "must be greater than or equal to 0"));
        }
        if let Some(bytes) = limit.filter(|bytes| *bytes < 1) {
            errors.push(FieldError::invalid("limitBytes", bytes, "must be greater than 0"));
        }
        match since_seconds {
            Some(_) if since_time.is_some() => {
                let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
                errors.push(FieldError::forbidden("", why));
            }
            Some(seconds) if seconds < 1 => {
                errors.push(FieldError::invalid("sinceSeconds", seconds, "must be greater than 0"));
            }
            _ => {}
        }
        if info.param("stream").is_some() {
            errors.push(FieldError::forbidden("stream", "may not be specified"));
        }
        if !errors.is_empty() {
            return Err(Fault::invalid("", "PodLogOptions", &info.name, &errors));
        }
        let flag = |name: &'static str| info.flag(name).then(|| (name, "true".to_owned()));
        let number = |name, value: Option<i64>| value.map(|value| (name, value.to_string()));
        let pairs: Vec<(&str, String)> = [
            flag("follow"),
            number("limitBytes", limit),
            flag("previous"),
            number("sinceSeconds", since_seconds),
            since_time.map(|time| ("sinceTime", time)),
            number("tailLines", tail),
            flag("timestamps"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let query = place::query(pairs.iter().map(|(key, value)| (*key, value.as_str())));
        Ok(Self { query, verified: !info.flag("insecureSkipTLSVerifyBackend") })
    }
}

/// `sinceTime` in whole seconds, as the kubelet gets it.
fn since_time(info: &RequestInfo) -> Result<Option<String>, Fault> {
    let Some(text) = info.param("sinceTime").filter(|text| !text.is_empty() && *text != "null") else {
        return Ok(None);
    };
    let (seconds, _) = proto::time::parse(text, proto::time::SECONDS)
        .map_err(|error| Fault::bad_request(error.to_string()))?;
    Ok(Some(proto::time::format(seconds, 0, false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_what_is_wrong_with_them() {
        let cases = [
            ("", Ok("")),
            (
                "follow=true&previous=false&timestamps=true&tailLines=0&limitBytes=9",
                Ok("?follow=true&limitBytes=9&tailLines=0&timestamps=true"),
            ),
            ("sinceTime=2026-01-02T03%3A04%3A05.6%2B01%3A00", Ok("?sinceTime=2026-01-02T02%3A04%3A05Z")),
            ("previous=true&sinceSeconds=5", Ok("?previous=true&sinceSeconds=5")),
            (
                "tailLines=-1&stream=All",
                Err(
                    "PodLogOptions \"p\" is invalid: [tailLines: Invalid value: -1: must be greater than or equal \
                     to 0, stream: Forbidden: may not be specified]",
                ),
            ),
            (
                "sinceSeconds=0",
                Err("PodLogOptions \"p\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0"),
            ),
            (
                "sinceTime=x",
                Err("parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""),
            ),
            ("tailLines=x", Err("strconv.ParseInt: parsing \"x\": invalid syntax")),
        ];
        for (query, expected) in cases {
            let uri = format!("/api/v1/namespaces/a/pods/p/log?{query}").parse().unwrap();
            let info = RequestInfo::parse(&http::Method::GET, &uri);
            let found = Options::read(&info).map(|options| options.query).map_err(|fault| fault.message);
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{query}");
        }
    }

    #[test]
    fn refusals_of_the_kubelet() {
        let cases = [
            (400, "no previous container", "BadRequest", "no previous container"),
            (404, "x", "NotFound", "the server could not find the requested resource ( pods/log p)"),
            (500, "x", "InternalError", "Internal error occurred: x"),
            (
                502,
                "x",
                "InternalError",
                "an error on the server (\"x\") has prevented the request from succeeding ( pods/log p)",
            ),
        ];
        for (code, text, reason, message) in cases {
            let fault = refusal("p", StatusCode::from_u16(code).unwrap(), text.to_owned());
            assert_eq!((fault.code, fault.reason, fault.message.as_str()), (code, reason, message));
        }
    }
}
