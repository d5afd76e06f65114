//! What the macros say to an author who has made a mistake.

#[test]
fn each_mistake_is_named_and_pointed_at() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
