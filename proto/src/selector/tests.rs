//! Selectors select, print and fail as a kube-apiserver 1.36 was seen to do.

use serde_json::json;

use super::*;

/// The labels of six objects.
const OBJECTS: [&[(&str, &str)]; 6] = [
    &[("i", "0"), ("par", "even"), ("x", "1")],
    &[("i", "1"), ("par", "odd"), ("x", "1")],
    &[("i", "2"), ("par", "even")],
    &[("i", "3"), ("par", "odd")],
    &[("i", "4"), ("par", "even")],
    &[("i", "5"), ("par", "odd")],
];

#[test]
fn selects() {
    let cases: &[(&str, &[usize])] = &[
        ("", &[0, 1, 2, 3, 4, 5]),
        ("par=even", &[0, 2, 4]),
        ("par==even", &[0, 2, 4]),
        ("par!=even", &[1, 3, 5]),
        ("x", &[0, 1]),
        ("!x", &[2, 3, 4, 5]),
        ("i in (1,2)", &[1, 2]),
        ("i in (1,,2)", &[1, 2]),
        ("i notin (1,2)", &[0, 3, 4, 5]),
        ("par=even,x", &[0]),
        ("par=even,!x", &[2, 4]),
        ("i>3", &[4, 5]),
        ("i<2", &[0, 1]),
        ("nope=", &[]),
        ("x in ()", &[]),
        ("x=1,x=2", &[]),
        ("par =", &[]),
        (" par in ( even ) , i notin (0,4)", &[2]),
        ("in in (in,notin)", &[]),
    ];
    for (text, expected) in cases {
        let selector = Selector::parse(text).unwrap();
        let selected: Vec<usize> = (0..6).filter(|at| selector.matches(OBJECTS[*at])).collect();
        assert_eq!(&selected, expected, "{text}");
        assert_eq!(Selector::parse(&selector.to_string()), Ok(selector), "{text}");
    }
}

#[test]
fn refuses() {
    let cases = [
        ("x in", "unable to parse requirement: found '' expected: '('"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("bad key=x", "unable to parse requirement: found 'key', expected: in, notin, =, ==, !=, gt, lt"),
        ("par=bad value", "found 'value', expected: ',' or 'end of string'"),
        ("x in (1", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("!x=1", "found '=', expected: ',' or 'end of string'"),
        (
            "i>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        (
            "UPPER/x=1",
            "unable to parse requirement: <nil>: Invalid value: \"UPPER/x\": prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        (
            "par=-",
            "unable to parse requirement: values[0][par]: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Selector::parse(text).unwrap_err().to_string(), expected, "{text}");
    }
    let long = format!("par={}", "a".repeat(64));
    assert!(Selector::parse(&long).unwrap_err().to_string().ends_with(": must be no more than 63 bytes"));
}

#[test]
fn reads_objects() {
    assert!(!Selector::from_json(&json!(null)).unwrap().matches(OBJECTS[0]));
    assert!(Selector::from_json(&json!({})).unwrap().is_everything());
    let value = json!({
        "matchLabels": {"par": "even"},
        "matchExpressions": [
            {"key": "x", "operator": "Exists"},
            {"key": "i", "operator": "In", "values": ["1", "0"]},
        ],
    });
    let selector = Selector::from_json(&value).unwrap();
    assert_eq!(selector.to_string(), "i in (0,1),par=even,x");
    assert!(selector.matches(OBJECTS[0]) && !selector.matches(OBJECTS[1]));
    let bad = json!({"matchExpressions": [{"key": "x", "operator": "Near"}]});
    assert_eq!(
        Selector::from_json(&bad).unwrap_err().to_string(),
        "\"Near\" is not a valid label selector operator"
    );
    assert!(Selector::from_labels([("par", "odd")]).matches(&json!({"par": "odd"})));
}

#[test]
fn fields() {
    let cases = [
        ("", true, ""),
        ("=", true, ""),
        ("metadata.name=c1", true, "metadata.name=c1"),
        ("metadata.name==c1,", true, "metadata.name=c1"),
        ("metadata.name!=c1", false, "metadata.name!=c1"),
        ("spec.b=,metadata.name=c1", true, "metadata.name=c1,spec.b="),
        ("metadata.name=c\\,1", false, "metadata.name=c\\,1"),
    ];
    for (text, expected, shown) in cases {
        let selector = FieldSelector::parse(text).unwrap();
        assert_eq!(selector.matches(|field| (field == "metadata.name").then_some("c1")), expected, "{text}");
        assert_eq!(selector.to_string(), shown);
    }
    let cases = [
        ("nope", "invalid selector: 'nope'; can't understand 'nope'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=\\b", "invalid field selector: invalid escape sequence: \\b"),
    ];
    for (text, expected) in cases {
        assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), expected);
    }
    assert_eq!(FieldSelector::parse("a!=c,a=b").unwrap().exact("a"), Some("b"));
}
