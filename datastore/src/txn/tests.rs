//! Tables of comparisons, malformed transactions and shaped ranges.

use super::*;

fn put(key: &'static str) -> RequestOp {
    RequestOp { request: Some(Request::RequestPut(PutRequest { key: key.into(), ..Default::default() })) }
}

fn delete(key: &'static str, end: &'static str) -> RequestOp {
    let request = DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv: false };
    RequestOp { request: Some(Request::RequestDeleteRange(request)) }
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    RequestOp { request: Some(Request::RequestTxn(TxnRequest { compare: vec![], success, failure })) }
}

#[test]
fn malformed_transactions() {
    let cases: Vec<(&str, Vec<RequestOp>, Result<(), Fault>)> = vec![
        ("nothing", vec![], Ok(())),
        ("two keys", vec![put("a"), put("b")], Ok(())),
        ("no key", vec![put("")], Err(Fault::EmptyKey)),
        ("no operation", vec![RequestOp::default()], Err(Fault::KeyNotFound)),
        ("twice", vec![put("a"), put("a")], Err(Fault::DuplicateKey)),
        ("put and delete", vec![put("a"), delete("a", "")], Err(Fault::DuplicateKey)),
        ("delete range and put", vec![delete("a", "c"), put("b")], Err(Fault::DuplicateKey)),
        ("delete and put beside", vec![delete("a", "c"), put("c")], Ok(())),
        ("delete twice", vec![delete("a", ""), delete("a", "")], Ok(())),
        ("nested, either branch", vec![nested(vec![put("a")], vec![put("a")])], Ok(())),
        ("nested and beside", vec![put("a"), nested(vec![], vec![put("a")])], Err(Fault::DuplicateKey)),
        ("nested within", vec![nested(vec![put("a"), put("a")], vec![])], Err(Fault::DuplicateKey)),
        ("too many", vec![delete("a", ""); MOST_OPS + 1], Err(Fault::TooManyOps)),
    ];
    for (name, success, expected) in cases {
        let request = TxnRequest { compare: vec![], success, failure: vec![] };
        assert_eq!(check(&request), expected, "{name}");
    }
}

#[test]
fn malformed_puts() {
    let full = PutRequest { key: "a".into(), value: "v".into(), lease: 1, ..Default::default() };
    let cases = [
        (full.clone(), Ok(())),
        (PutRequest { ignore_value: true, ..full.clone() }, Err(Fault::ValueProvided)),
        (PutRequest { ignore_lease: true, ..full.clone() }, Err(Fault::LeaseProvided)),
        (PutRequest { key: Bytes::new(), ..full }, Err(Fault::EmptyKey)),
    ];
    for (request, expected) in cases {
        assert_eq!(check_put(&request), expected, "{request:?}");
    }
}

#[test]
fn comparisons() {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    let item = KeyValue {
        key: "a".into(),
        value: "v".into(),
        create_revision: 3,
        mod_revision: 5,
        version: 2,
        lease: 9,
    };
    let cases: &[(CompareResult, CompareTarget, TargetUnion, bool, bool)] = &[
        (Equal, CompareTarget::Mod, TargetUnion::ModRevision(5), true, false),
        (Equal, CompareTarget::Mod, TargetUnion::ModRevision(0), false, true),
        (Greater, CompareTarget::Version, TargetUnion::Version(1), true, false),
        (Less, CompareTarget::Create, TargetUnion::CreateRevision(4), true, true),
        (NotEqual, CompareTarget::Lease, TargetUnion::Lease(9), false, true),
        (Equal, CompareTarget::Value, TargetUnion::Value("v".into()), true, false),
        (NotEqual, CompareTarget::Value, TargetUnion::Value("v".into()), false, false),
    ];
    for (result, target, union, present, absent) in cases {
        let compare = Compare {
            result: *result as i32,
            target: *target as i32,
            target_union: Some(union.clone()),
            ..Default::default()
        };
        assert_eq!(holds(&compare, std::slice::from_ref(&item)), *present, "{compare:?}");
        assert_eq!(holds(&compare, &[]), *absent, "{compare:?} on nothing");
    }
}

#[test]
fn shaped_ranges() {
    let items = |text: &str| -> Vec<KeyValue> {
        let item = |(place, key): (usize, char)| KeyValue {
            key: key.to_string().into(),
            mod_revision: 10 - place as i64,
            create_revision: 1 + place as i64,
            ..Default::default()
        };
        text.chars().enumerate().map(item).collect()
    };
    let cases = [
        (RangeRequest { sort_order: SortOrder::Descend as i32, ..Default::default() }, "cba"),
        (RangeRequest { sort_target: SortTarget::Mod as i32, ..Default::default() }, "cba"),
        (RangeRequest { min_mod_revision: 9, ..Default::default() }, "ab"),
        (RangeRequest { max_create_revision: 2, ..Default::default() }, "ab"),
    ];
    for (request, expected) in cases {
        assert!(!is_plain(&request));
        let shaped: Vec<u8> =
            shape(&request, items("abc")).iter().flat_map(|item| item.key.to_vec()).collect();
        assert_eq!(String::from_utf8(shaped).unwrap(), expected, "{request:?}");
    }
    assert!(is_plain(&RangeRequest { sort_order: SortOrder::Ascend as i32, ..Default::default() }));
}
