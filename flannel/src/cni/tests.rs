//! Calls as runtimes make them: what is accepted, what is refused and how.

use serde_json::{Value, json};

use super::*;

fn read(variables: &[(&str, &str)], input: &str) -> Result<Call, Value> {
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Call::read(variable, input.as_bytes()).map_err(|fault| fault.to_json(NEWEST))
}

const ADD: &[(&str, &str)] = &[
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/run/netns/c1"),
    ("CNI_IFNAME", "eth0"),
];

/// `ADD` with one variable changed.
fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let others = ADD.iter().copied().filter(|(known, _)| *known != name);
    others.chain([(name, value)]).collect()
}

#[test]
fn what_cannot_be_is_refused_with_the_code_of_the_specification() {
    let good = r#"{"cniVersion": "1.0.0", "name": "cbr0", "type": "bridge"}"#;
    let versioned = |version: &str| good.replace("1.0.0", version);
    type Case<'a> = (Vec<(&'a str, &'a str)>, String, Result<(), u32>);
    let cases: &[Case<'_>] = &[
        (ADD.to_vec(), good.to_owned(), Ok(())),
        (ADD.to_vec(), versioned("0.3.1"), Ok(())),
        (ADD.to_vec(), versioned("0.4.0"), Ok(())),
        (ADD.to_vec(), versioned("0.2.0"), Err(1)),
        (ADD.to_vec(), r#"{"name": "cbr0"}"#.to_owned(), Err(1)),
        (with("CNI_COMMAND", "CHECK"), versioned("0.3.1"), Err(1)),
        (with("CNI_COMMAND", "CHECK"), good.to_owned(), Ok(())),
        (with("CNI_COMMAND", "GO"), good.to_owned(), Err(4)),
        (with("CNI_CONTAINERID", ""), good.to_owned(), Err(4)),
        (with("CNI_CONTAINERID", "../c1"), good.to_owned(), Err(4)),
        (with("CNI_IFNAME", "an/interface"), good.to_owned(), Err(4)),
        (with("CNI_IFNAME", "a-name-of-16-bytes"), good.to_owned(), Err(4)),
        (with("CNI_NETNS", ""), good.to_owned(), Err(4)),
        (ADD.to_vec(), "{".to_owned(), Err(6)),
        (ADD.to_vec(), "[]".to_owned(), Err(6)),
        (ADD.to_vec(), good.replace("cbr0", "../cbr0"), Err(7)),
        (vec![("CNI_COMMAND", "VERSION")], String::new(), Ok(())),
        (
            vec![("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0")],
            good.to_owned(),
            Ok(()),
        ),
    ];
    for (variables, input, expected) in cases {
        let outcome = read(variables, input).map(|_| ()).map_err(|fault| fault["code"].as_u64().unwrap());
        assert_eq!(outcome, expected.map_err(u64::from), "{variables:?} {input}");
    }
}

#[test]
fn results_are_written_as_each_version_has_them() {
    let result = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/c1"}],
        "ips": [{"address": "10.42.0.2/24", "gateway": "10.42.0.1", "interface": 0}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {},
    });
    let success = Success::read(&result).unwrap();
    assert_eq!(success.to_json("1.0.0"), result);
    let mut older = result.clone();
    older["cniVersion"] = "0.3.1".into();
    older["ips"][0]["version"] = "4".into();
    assert_eq!(success.to_json("0.3.1"), older);
    assert_eq!(Success::read(&older).unwrap(), success);
}
