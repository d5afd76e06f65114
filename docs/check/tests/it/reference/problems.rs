//! The page of problems, from their codes.

use skep::problem::Code;

const INTRODUCTION: &str =
    "A request that is refused is answered with `application/problem+json` (RFC 9457), and the \
`end` of a failed job has the same object:

```json
{
  \"type\": \"urn:skep:problem:unknown-operation\",
  \"title\": \"No such operation\",
  \"status\": 404,
  \"detail\": \"there is no operation `ehco`, did you mean `echo`?\",
  \"code\": \"unknown-operation\",
  \"did_you_mean\": \"echo\"
}
```

Programs compare `code`, and nothing else. Operations have codes of their own beside these.

";

/// Every code that Skep itself gives.
pub(super) fn page() -> String {
    let rows = Code::ALL
        .iter()
        .map(|code| format!("| `{}` | {} | {} |\n", code.as_str(), code.status(), code.meaning()));
    format!(
        "{INTRODUCTION}| code | status | meaning |\n|---|---|---|\n{}",
        rows.collect::<String>()
    )
}
