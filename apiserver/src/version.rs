//! `/version`.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::request::{Call, Response};
use crate::route::Route;

pub(crate) const ROUTES: &[Route] = &[
    Route { path: "/version", handler: |_, call| Box::pin(std::future::ready(version(&call))) },
    Route { path: "/version/", handler: |_, call| Box::pin(std::future::ready(version(&call))) },
];

/// The fields of the answer, and whether they are always there.
pub(crate) const FIELDS: &[(&str, bool)] = &[
    ("major", true),
    ("minor", true),
    ("emulationMajor", false),
    ("emulationMinor", false),
    ("minCompatibilityMajor", false),
    ("minCompatibilityMinor", false),
    ("gitVersion", true),
    ("gitCommit", true),
    ("gitTreeState", true),
    ("buildDate", true),
    ("goVersion", true),
    ("compiler", true),
    ("platform", true),
];

fn version(call: &Call) -> Result<Response, Fault> {
    if call.parts.method != http::Method::GET {
        return Err(Fault::method_not_allowed());
    }
    let format = crate::handler::format(call)?;
    crate::present::document(format, 200, facts(daemon::VERSION).to_string().into())
}

/// What `/version` tells. What was built from which commit, and when, is not known to the program.
fn facts(version: &str) -> Value {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let before = minor.parse::<u32>().unwrap_or_default().saturating_sub(1).to_string();
    // Go's names of platforms, which clients know.
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": before,
        "gitVersion": version,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{machine}", std::env::consts::OS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_in_numbers() {
        let facts = facts("v1.36.2+isopod0");
        assert_eq!((&facts["major"], &facts["minor"]), (&json!("1"), &json!("36")));
        assert_eq!(facts["minCompatibilityMinor"], "35");
    }
}
