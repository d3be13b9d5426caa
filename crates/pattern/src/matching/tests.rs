#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;
use serde_json::json;

fn fits(pattern: Value, event: &Value) -> bool {
    let text = pattern.to_string();
    Pattern::parse(&text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .matches(event)
}

/// The event of AWS's page on event patterns, with fields for its examples of operators.
fn event() -> Value {
    json!({
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": "EC2 Instance State-change Notification",
        "source": "aws.ec2",
        "account": "111122223333",
        "time": "2017-12-22T18:43:48Z",
        "region": "us-west-1",
        "resources": ["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],
        "detail": {
            "instance-id": "i-1234567890abcdef0",
            "state": "terminated",
            "x-limit": 301.8,
            "c-count": 5,
            "sourceIPAddress": "10.0.0.123",
            "address6": "2001:db8::1",
            "FileName": "dir/image.PNG",
            "service": "EventBridge",
            "nothing": null,
            "flag": true,
            "empty": "",
            "account": 123_456_789_012_u64,
        }
    })
}

#[test]
fn aws_documented_examples() {
    let event = event();
    for (pattern, expected) in [
        (
            json!({"source": ["aws.ec2"], "detail": {"state": ["terminated"]}}),
            true,
        ),
        (json!({"source": ["aws.ec2", "aws.fargate"]}), true),
        (json!({"source": ["aws.fargate"]}), false),
        (json!({"account": ["111122223333"]}), true),
        (json!({"account": [111_122_223_333_u64]}), false),
        (json!({"time": [{"prefix": "2017-12-22"}]}), true),
        (json!({"time": [{"prefix": "2017-10-02"}]}), false),
        (
            json!({"detail": {"service": [{"prefix": {"equals-ignore-case": "eventb"}}]}}),
            true,
        ),
        (json!({"detail": {"FileName": [{"suffix": ".png"}]}}), false),
        (
            json!({"detail": {"FileName": [{"suffix": {"equals-ignore-case": ".png"}}]}}),
            true,
        ),
        (
            json!({"detail": {"state": [{"anything-but": "initializing"}]}}),
            true,
        ),
        (
            json!({"detail": {"x-limit": [{"anything-but": 123}]}}),
            true,
        ),
        (
            json!({"detail": {"state": [{"anything-but": ["terminated", "x"]}]}}),
            false,
        ),
        (
            json!({"detail": {"x-limit": [{"anything-but": [100, 301.8]}]}}),
            false,
        ),
        (
            json!({"detail": {"state": [{"anything-but": {"equals-ignore-case": "TERMINATED"}}]}}),
            false,
        ),
        (
            json!({"detail": {"state": [{"anything-but": {"equals-ignore-case": ["a", "Terminated"]}}]}}),
            false,
        ),
        (
            json!({"detail": {"state": [{"anything-but": {"prefix": "init"}}]}}),
            true,
        ),
        (
            json!({"detail": {"state": [{"anything-but": {"prefix": ["init", "term"]}}]}}),
            false,
        ),
        (
            json!({"detail": {"FileName": [{"anything-but": {"suffix": ".txt"}}]}}),
            true,
        ),
        (
            json!({"detail": {"FileName": [{"anything-but": {"suffix": [".txt", ".PNG"]}}]}}),
            false,
        ),
        (
            json!({"detail": {"FileName": [{"anything-but": {"wildcard": "*/image*"}}]}}),
            false,
        ),
        (
            json!({"detail": {"FileName": [{"anything-but": {"wildcard": ["*/lib/*", "*.txt"]}}]}}),
            true,
        ),
        (
            json!({"detail": {"c-count": [{"numeric": [">", 0, "<=", 5]}]}}),
            true,
        ),
        (
            json!({"detail": {"c-count": [{"numeric": ["<", 5]}]}}),
            false,
        ),
        (
            json!({"detail": {"x-limit": [{"numeric": ["=", 3.018e2]}]}}),
            true,
        ),
        (json!({"detail": {"x-limit": [3.018e2]}}), true),
        (
            json!({"detail": {"x-limit": [{"numeric": [">=", 301.8]}]}}),
            true,
        ),
        (
            json!({"detail": {"x-limit": [{"numeric": [">", 301.8, "<", 400]}]}}),
            false,
        ),
        (json!({"detail": {"account": [123_456_789_012_u64]}}), true),
        (json!({"detail": {"account": [123_456_789_013_u64]}}), false),
        (
            json!({"detail": {"sourceIPAddress": [{"cidr": "10.0.0.0/24"}]}}),
            true,
        ),
        (
            json!({"detail": {"sourceIPAddress": [{"cidr": "10.0.1.0/24"}]}}),
            false,
        ),
        (
            json!({"detail": {"address6": [{"cidr": "2001:db8::/32"}]}}),
            true,
        ),
        (
            json!({"detail": {"address6": ["2001:db8:0:0:0:0:0:1"]}}),
            true,
        ),
        (json!({"detail": {"state": [{"exists": true}]}}), true),
        (json!({"detail": {"other": [{"exists": true}]}}), false),
        (json!({"detail": {"other": [{"exists": false}]}}), true),
        (json!({"other": {"deep": [{"exists": false}]}}), true),
        (json!({"detail": [{"exists": true}]}), false),
        (
            json!({"detail": {"service": [{"equals-ignore-case": "eventBRIDGE"}]}}),
            true,
        ),
        (
            json!({"detail": {"FileName": [{"wildcard": "dir/*.PNG"}]}}),
            true,
        ),
        (
            json!({"detail": {"FileName": [{"wildcard": "dir/*.jpg"}]}}),
            false,
        ),
        (json!({"detail": {"nothing": [null]}}), true),
        (json!({"detail": {"state": [null]}}), false),
        (json!({"detail": {"nothing": [""]}}), false),
        (json!({"detail": {"empty": [""]}}), true),
        (json!({"detail": {"flag": [true]}}), true),
        (json!({"detail": {"flag": ["true"]}}), false),
        (json!({"detail": {"other": [{"anything-but": "x"}]}}), false),
        (
            json!({"detail": {"state": [{"exactly": "terminated"}]}}),
            true,
        ),
    ] {
        assert_eq!(fits(pattern.clone(), &event), expected, "{pattern}");
    }
}

#[test]
fn or_is_one_of_its_alternatives_beside_all_the_rest() {
    let pattern = json!({"source": ["aws.cloudwatch"], "$or": [
        {"metricName": ["CPUUtilization", "ReadLatency"]},
        {"metricType": ["MetricType"], "namespace": ["AWS/EC2", "AWS/ES"]},
        {"$or": [{"scope": ["Service"]}, {"detail": {"deep": [1]}}]},
    ]});
    for (event, expected) in [
        (
            json!({"source": "aws.cloudwatch", "metricName": "ReadLatency"}),
            true,
        ),
        (
            json!({"source": "aws.cloudwatch", "metricType": "MetricType", "namespace": "AWS/ES"}),
            true,
        ),
        (
            json!({"source": "aws.cloudwatch", "metricType": "MetricType"}),
            false,
        ),
        (
            json!({"source": "aws.cloudwatch", "scope": "Service"}),
            true,
        ),
        (
            json!({"source": "aws.cloudwatch", "detail": {"deep": [2, 1]}}),
            true,
        ),
        (json!({"source": "other", "scope": "Service"}), false),
    ] {
        assert_eq!(fits(pattern.clone(), &event), expected, "{event}");
    }
}

#[test]
fn elements_of_an_array_are_alternatives_and_are_not_mixed() {
    let event = json!({"tags": ["a", ["b", 3]], "employees": [
        {"first": "Ann", "last": "Bee", "phones": [{"kind": "home", "n": 1}, {"kind": "work", "n": 2}]},
        {"first": "Cid", "last": "Dee"},
    ], "none": []});
    for (pattern, expected) in [
        (json!({"tags": ["b"]}), true),
        (json!({"tags": [{"numeric": ["=", 3]}]}), true),
        (json!({"tags": [{"anything-but": "a"}]}), true),
        (
            json!({"employees": {"first": ["Ann"], "last": ["Bee"]}}),
            true,
        ),
        (
            json!({"employees": {"first": ["Ann"], "last": ["Dee"]}}),
            false,
        ),
        (
            json!({"employees": {"phones": {"kind": ["work"], "n": [2]}}}),
            true,
        ),
        (
            json!({"employees": {"phones": {"kind": ["work"], "n": [1]}}}),
            false,
        ),
        (
            json!({"employees": {"first": ["Cid"], "phones": {"n": [1]}}}),
            false,
        ),
        (json!({"employees": {"first": [{"exists": false}]}}), false),
        (json!({"employees": {"age": [{"exists": false}]}}), true),
        (json!({"none": [{"exists": true}]}), false),
        (json!({"none": [{"exists": false}]}), true),
        (json!({"none": {"x": [{"exists": false}]}}), true),
    ] {
        assert_eq!(fits(pattern.clone(), &event), expected, "{pattern}");
    }
}

#[test]
fn refusals_are_in_aws_words() {
    for (text, reason) in [
        ("[]", "Filter is not an object"),
        ("{}", "Empty objects are not allowed"),
        (r#"{"a": {}}"#, "Empty objects are not allowed"),
        (r#"{"a": []}"#, "Empty arrays are not allowed"),
        (r#"{"a": "b"}"#, "\"a\" must be an object or an array"),
        (
            r#"{"a": [["b"]]}"#,
            "Match value must be String, number, true, false, or null",
        ),
        (r#"{"a": [{"nope": "b"}]}"#, "Unrecognized match type nope"),
        (r#"{"a": [{}]}"#, "Match expression name not found"),
        (
            r#"{"a": [{"prefix": 1}]}"#,
            "prefix match pattern must be a string",
        ),
        (
            r#"{"a": [{"suffix": ["x"]}]}"#,
            "suffix match pattern must be a string",
        ),
        (
            r#"{"a": [{"prefix": "a", "suffix": "b"}]}"#,
            "Only one key allowed in match expression",
        ),
        (
            r#"{"a": [{"exists": 1}]}"#,
            "exists match pattern must be either true or false.",
        ),
        (
            r#"{"a": [{"numeric": 5}]}"#,
            "Value of numeric must be an array.",
        ),
        (
            r#"{"a": [{"numeric": []}]}"#,
            "Invalid member in numeric match: ]",
        ),
        (
            r#"{"a": [{"numeric": [5]}]}"#,
            "Invalid member in numeric match: 5",
        ),
        (
            r#"{"a": [{"numeric": ["=", "5"]}]}"#,
            "Value of equals must be numeric",
        ),
        (
            r#"{"a": [{"numeric": ["!", 5]}]}"#,
            "Unrecognized numeric range operator: !",
        ),
        (
            r#"{"a": [{"numeric": ["=", 5, 6]}]}"#,
            "Too many elements in numeric expression",
        ),
        (
            r#"{"a": [{"numeric": [">", 5, "<", 4]}]}"#,
            "Bottom must be less than top",
        ),
        (
            r#"{"a": [{"numeric": [">", 5, ">", 9]}]}"#,
            "Bad numeric range operator: >",
        ),
        (
            r#"{"a": [{"numeric": [">", 6e9]}]}"#,
            "Value must be between -5.0E9 and 5.0E9, inclusive",
        ),
        (
            r#"{"a": [{"anything-but": ["a", 1]}]}"#,
            "Inside anything but list, either all values are number or string, mixed type is not supported",
        ),
        (
            r#"{"a": [{"anything-but": [null]}]}"#,
            "Inside anything but list, start|null|boolean is not supported.",
        ),
        (
            r#"{"a": [{"anything-but": {"cidr": "x"}}]}"#,
            "Unsupported anything-but pattern: cidr",
        ),
        (
            r#"{"a": [{"anything-but": {"prefix": ""}}]}"#,
            "Null prefix not allowed",
        ),
        (
            r#"{"$or": {"a": [1]}}"#,
            "It must be an Array followed with $or.",
        ),
        (
            r#"{"$or": [1, 2]}"#,
            "Only JSON object is allowed in array of $or relationship.",
        ),
        (
            r#"{"$or": [{"a": [1]}]}"#,
            "There must have at least 2 Objects in $or relationship.",
        ),
        (
            r#"{"$or": [{"prefix": [1]}, {"a": [1]}]}"#,
            "prefix is Ruler reserved fieldName which cannot be used inside $or.",
        ),
    ] {
        assert_eq!(Pattern::parse(text).unwrap_err().0, reason, "{text}");
    }
    for (text, part) in [
        (
            r#"{"a": [1], "a": [2]}"#,
            "Path `a` cannot be allowed multiple times",
        ),
        ("{", "EOF"),
        (&"[".repeat(1000), "recursion limit"),
        (&"x".repeat(MAX_PATTERN + 1), "more than 4096"),
    ] {
        let error = Pattern::parse(text).unwrap_err().0;
        assert!(error.contains(part), "{error}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1000i64..1000).prop_map(Value::from),
        (-1000.0..1000.0).prop_map(|number: f64| Value::from((number * 100.0).round() / 100.0)),
        "[a-zA-Z.*é ]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The pattern that asks for exactly what an event's leaves are, as far as it has leaves.
fn exact(value: &Value) -> Option<Value> {
    match value {
        Value::Object(object) => {
            let fields = object.iter().filter_map(|(name, value)| {
                let node = match value {
                    Value::Object(_) => exact(value)?,
                    Value::Array(list) => Value::from(vec![
                        list.iter()
                            .find(|one| !one.is_array() && !one.is_object())?
                            .clone(),
                    ]),
                    leaf => Value::from(vec![leaf.clone()]),
                };
                Some((name.clone(), node))
            });
            let fields: Map<_, _> = fields.collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn an_event_fits_the_pattern_of_its_own_leaves(event in json_value()) {
        if let Some(pattern) = exact(&event) {
            prop_assert!(fits(pattern, &event));
        }
    }

    #[test]
    fn on_one_value_anything_but_is_the_opposite(
        text in "[ab*.]{0,5}", operator in prop_oneof![Just("prefix"), Just("suffix"), Just("equals-ignore-case")],
        operand in "[ab*.]{1,3}",
    ) {
        let event = json!({"a": text});
        let plain = fits(json!({"a": [{operator: operand}]}), &event);
        let but = fits(json!({"a": [{"anything-but": {operator: operand}}]}), &event);
        prop_assert_ne!(plain, but);
    }

    #[test]
    fn nothing_panics(text in ".{0,200}", event in json_value()) {
        if let Ok(pattern) = Pattern::parse(&text) {
            pattern.matches(&event);
        }
    }

    #[test]
    fn a_pattern_of_any_json_is_refused_or_matches(pattern in json_value(), event in json_value()) {
        if let Ok(pattern) = Pattern::parse(&pattern.to_string()) {
            pattern.matches(&event);
        }
    }
}
