//! Inputs: what is refused before there's a job, and what a handler gets.

use serde_json::{Value, json};
use skep::RouterError;
use skep::prelude::*;
use skep::problem::Code;
use skep::store::JobQuery;
use skep::{JobRequest, Router};

use crate::support::{router, within};

async fn errors(router: &Router, operation: &str, input: Value) -> Vec<String> {
    let error = router.create_job(JobRequest::new(operation, input)).await.unwrap_err();
    assert!(error.problem().is(Code::InvalidInput));
    let RouterError::InvalidInput { errors, .. } = error else { panic!("{error}") };
    let mut errors: Vec<_> = errors.iter().map(|e| format!("{} {}", e.pointer, e.detail)).collect();
    errors.sort();
    errors
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once_and_there_is_no_job() {
    let router = router().await;
    let input = json!({ "text": 5, "temperature": 3, "temprature": 1 });
    assert_eq!(
        errors(&router, "sample", input).await,
        [
            "/temperature 3 is greater than the maximum of 2",
            "/temprature is not a field, did you mean `temperature`?",
            "/text 5 is not of type \"string\"",
        ]
    );
    assert_eq!(errors(&router, "sample", json!({})).await, ["/text is required"]);
    assert!(router.jobs(&JobQuery::newest(10)).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_input_that_is_no_object_is_refused() {
    let router = router().await;
    for input in [json!([]), json!("text"), json!(null), json!(1)] {
        assert_eq!(errors(&router, "sample", input).await.len(), 1);
    }
}

#[tokio::test]
async fn an_operation_without_fields_takes_none() {
    let errors = errors(&router().await, "panic_at_once", json!({ "x": 1 })).await;
    assert_eq!(errors, ["/x is not a field"]);
}

#[tokio::test]
async fn the_errors_of_a_hopeless_input_are_not_without_end() {
    let tags = vec![1; 10_000];
    let errors = errors(&router().await, "sample", json!({ "text": "", "tags": tags })).await;
    assert_eq!(errors.len(), 100);
}

#[tokio::test]
async fn what_is_left_out_has_its_default() {
    let result = within(router().await.call("sample", json!({ "text": "Hi" }))).await.unwrap();
    assert_eq!(result, json!(["Hi", 0.7, null, [], "quick", 3]));
}

#[tokio::test]
async fn what_is_given_comes_as_it_was_given() {
    let input = json!({
        "text": "Hi", "temperature": 0, "seed": 7, "tags": ["a"], "type": "slow", "input": 4,
    });
    let result = within(router().await.call("sample", input)).await.unwrap();
    assert_eq!(result, json!(["Hi", 0.0, 7, ["a"], "slow", 4]));
}

#[tokio::test]
async fn an_integer_may_be_written_with_a_point() {
    let router = router().await;
    let input: Value = serde_json::from_str(r#"{ "text": "Hi", "seed": 7.0 }"#).unwrap();
    let result = within(router.call("sample", input)).await.unwrap();
    assert_eq!(result[2], 7);
    assert_eq!(errors(&router, "sample", json!({ "text": "", "seed": 7.5 })).await.len(), 1);
}

#[tokio::test]
async fn a_whole_input_may_be_a_type_of_ones_own() {
    let router = router().await;
    let result = within(router.call("order", json!({ "item": "tea", "count": 2 }))).await.unwrap();
    assert_eq!(result, json!({ "item": "tea", "count": 2 }));
    let wrong = errors(&router, "order", json!({ "item": "tea", "cuont": 2 })).await;
    assert_eq!(wrong, ["/count is required", "/cuont is not a field, did you mean `count`?"]);
}

#[tokio::test]
async fn a_refusal_of_a_fields_own_type_is_invalid_input_too() {
    let router = router().await;
    let problem = within(router.call("even", json!({ "number": 3 }))).await.unwrap_err();
    assert!(problem.is(Code::InvalidInput), "{problem:?}");
    assert_eq!(problem.detail, "3 is odd");
}

#[tokio::test]
async fn an_unknown_operation_is_refused_with_the_nearest_name() {
    let router = router().await;
    let create = |name: String| router.create_job(JobRequest::new(name, json!({})));
    let problem = create("helo".to_owned()).await.unwrap_err().problem();
    assert!(problem.is(Code::UnknownOperation));
    assert_eq!(problem.extensions["did_you_mean"], "hello");
    let problem = create("x".repeat(1 << 20)).await.unwrap_err().problem();
    assert!(problem.detail.len() < 200);
}

#[tokio::test]
async fn a_specs_schema_says_what_the_code_says() {
    let router = router().await;
    let spec = router.operation("sample").unwrap();
    assert_eq!(spec.summary, "Sample a text, with every kind of field.");
    assert_eq!(spec.description, "More of it.");
    let fields = &spec.input_schema["properties"];
    assert_eq!(fields["text"]["description"], "What to sample.");
    assert_eq!(fields["temperature"]["default"], 0.7);
    assert_eq!(fields["temperature"]["maximum"], 2);
    assert_eq!(fields["type"]["description"], "A word of Rust's.");
    assert_eq!(spec.input_schema["required"], json!(["text"]));
    assert_eq!(spec.input_schema["additionalProperties"], false);
}

/// Sample a text,
/// with every kind of field.
///
/// More of it.
#[skep::operation(read_only)]
async fn sample(
    /// What to sample.
    text: String,
    #[default(0.7)]
    #[schemars(range(min = 0, max = 2))]
    temperature: f64,
    seed: Option<u32>,
    #[serde(default)] tags: Vec<String>,
    /// A word of Rust's.
    #[default("quick")]
    r#type: String,
    // Names that the macro's own code could trip over.
    #[default(3)] input: u8,
    #[serde(default)] job: (),
    #[serde(default)] spec: Option<bool>,
    #[serde(default)] self_: Option<bool>,
    #[serde(default)] value: Option<bool>,
    /// The job.
    cx: &JobContext,
) -> Result<(String, f64, Option<u32>, Vec<String>, String, u8)> {
    let ((), None, None, None, false) = (job, spec, self_, value, cx.is_cancelled()) else {
        return Err(OperationError::message("nothing of it was given"));
    };
    Ok((text, temperature, seed, tags, r#type, input))
}

/// What to buy.
#[skep::data]
struct Order {
    item: String,
    #[serde(rename = "count")]
    how_many: u32,
}

/// Order something.
#[skep::operation]
async fn order(Input(order): Input<Order>) -> Result<Order> {
    Ok(order)
}

/// A number that its schema can't tell from others.
#[skep::data]
#[serde(try_from = "u32", into = "u32")]
#[schemars(with = "u32")]
#[derive(Clone)]
struct Even(u32);

impl TryFrom<u32> for Even {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number.is_multiple_of(2) { Ok(Self(number)) } else { Err(format!("{number} is odd")) }
    }
}

impl From<Even> for u32 {
    fn from(even: Even) -> Self {
        even.0
    }
}

/// Take an even number.
#[skep::operation]
async fn even(number: Even) -> Result<u32> {
    Ok(number.into())
}

/// A place.
#[skep::data]
struct Place {
    /// Its town.
    #[serde(alias = "city", alias = "location")]
    town: String,
}

/// Tell where someone is.
#[skep::operation(deprecated = "use place_tell")]
async fn where_is(
    /// Who.
    #[serde(alias = "who")]
    name: String,
    #[serde(default, alias = "loud")] shout: bool,
    place: Option<Place>,
) -> Result<(String, bool, Option<Place>)> {
    Ok((name, shout, place))
}

#[tokio::test]
async fn a_former_name_is_taken_and_the_schema_says_so() {
    let router = router().await;
    let whole = json!({ "name": "Ada", "shout": true, "place": { "town": "Rome" } });
    let former = json!({ "who": "Ada", "loud": true, "place": { "city": "Rome" } });
    for input in [whole, former] {
        let told = within(router.call("where_is", input)).await.unwrap();
        assert_eq!(told, json!(["Ada", true, { "town": "Rome" }]));
    }
    let spec = router.operation("where_is").unwrap();
    assert_eq!(spec.deprecated.as_deref(), Some("use place_tell"));
    let who = &spec.input_schema["properties"]["who"];
    assert_eq!(
        who,
        &json!({ "type": "string", "description": "Now called `name`.", "deprecated": true })
    );
    assert!(!spec.output_schema.to_string().contains("alias"), "{}", spec.output_schema);
}

#[tokio::test]
async fn a_field_is_given_by_one_of_its_names() {
    let router = router().await;
    for (input, pointer, detail) in [
        (json!({}), "/name", "is required"),
        (
            json!({ "name": "Ada", "who": "Ada" }),
            "/who",
            "is a former name of `name`: give one of the two",
        ),
        (
            json!({ "name": "Ada", "shout": true, "loud": true }),
            "/loud",
            "is a former name of `shout`: give one of the two",
        ),
        (json!({ "name": "Ada", "place": { "town": "Rome", "location": "Rome" } }), "/place", ""),
    ] {
        let problem = within(router.call("where_is", input.clone())).await.unwrap_err();
        assert_eq!(problem.code, "invalid-input", "{input}");
        let error = &problem.extensions["errors"][0];
        assert_eq!(error["pointer"], pointer, "{input}: {error}");
        assert!(detail.is_empty() || error["detail"] == detail, "{input}: {error}");
    }
}
