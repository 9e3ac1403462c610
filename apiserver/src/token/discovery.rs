//! What others need to check tokens by themselves: the issuer's description and its keys (`OpenID` discovery).

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::body;
use crate::fault::Fault;
use crate::request::{Call, Response};
use crate::route::Route;
use crate::server::Server;

/// Where the keys are, below our own address.
const KEYS: &str = "/openid/v1/jwks";

/// How long answers may be kept (upstream's figure): keys must be published so long before they sign.
const KEPT: &str = "public, max-age=3600";

pub(crate) const ROUTES: &[Route] = &[
    Route {
        path: "/.well-known/openid-configuration",
        handler: |server, call| {
            Box::pin(async move { answer(server, &call, "application/json", issuer(server)) })
        },
    },
    Route {
        path: KEYS,
        handler: |server, call| {
            Box::pin(
                async move { answer(server, &call, "application/jwk-set+json", server.tokens().key_set()) },
            )
        },
    },
];

fn answer(
    server: &Server,
    call: &Call,
    media_type: &'static str,
    document: Value,
) -> Result<Response, Fault> {
    // Others are told of an issuer only where its name leads them here safely.
    if !server.tokens().issuer().is_some_and(|issuer| issuer.starts_with("https://")) {
        return Err(Fault::no_such_path());
    }
    if !matches!(call.parts.method, http::Method::GET | http::Method::HEAD) {
        return Err(Fault::method_not_allowed());
    }
    let mut response = body::response(200, media_type, document.to_string());
    response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static(KEPT));
    Ok(response)
}

fn issuer(server: &Server) -> Value {
    let settings = server.settings();
    let keys = if settings.service_account_jwks_uri.is_empty() {
        format!("https://{}{KEYS}", SocketAddr::new(settings.advertised(), settings.secure_port))
    } else {
        settings.service_account_jwks_uri.clone()
    };
    json!({
        "issuer": server.tokens().issuer(),
        "jwks_uri": keys,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": server.tokens().algorithms(),
    })
}
