//! TokenReview and SelfSubjectReview: whose token this is, and who I am.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::kind::fill;
use crate::object;
use crate::question;
use crate::request::{Call, Response, User};
use crate::route::Virtual;
use crate::server::Server;

const GROUP: &str = "authentication.k8s.io";

pub(crate) const VIRTUAL: &[Virtual] = &[
    Virtual {
        group: GROUP,
        resource: "tokenreviews",
        handler: |server, call| Box::pin(token_review(server, call)),
    },
    Virtual {
        group: GROUP,
        resource: "selfsubjectreviews",
        handler: |_, call| Box::pin(async move { self_review(&call) }),
    },
];

async fn token_review(server: &Server, call: Call) -> Result<Response, Fault> {
    let kind = question::kind(GROUP, "TokenReview")?;
    let mut review = question::read(&call, kind)?;
    let token = fill::text(&review, "spec.token").to_owned();
    if token.is_empty() {
        return Err(Fault::bad_request("token is required for TokenReview in authentication"));
    }
    let given = fill::list(&review, "spec.audiences").iter().filter_map(Value::as_str).map(str::to_owned);
    let mut wanted: Vec<String> = given.collect();
    if wanted.is_empty() {
        wanted = server.tokens().audiences().to_vec();
    }
    review["status"] = match super::by_token(server, &token, &wanted).await {
        Ok(proven) => {
            json!({"authenticated": true, "user": user_info(&proven.user), "audiences": proven.audiences})
        }
        Err(why) => json!({"error": why}),
    };
    question::answer(&call, kind, &review)
}

fn self_review(call: &Call) -> Result<Response, Fault> {
    let kind = question::kind(GROUP, "SelfSubjectReview")?;
    let mut review = question::read(call, kind)?;
    object::set_meta(&mut review, "creationTimestamp", Some(object::time(object::now()).into()));
    review["status"] = json!({"userInfo": user_info(&call.user)});
    question::answer(call, kind, &review)
}

/// A user as objects show one.
fn user_info(user: &User) -> Value {
    json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra})
}
