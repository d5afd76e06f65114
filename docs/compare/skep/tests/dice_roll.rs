//! The operation through the router, as a server runs it.

use compare_skep as _;
use skep::json;
use skep::testing::TestServer;

#[test]
fn it_tells_three_times_how_far_it_is_and_then_the_sum() {
    let server = TestServer::start();
    let job = server.run("dice_roll", json!({ "dice": 10, "seed": 7 }));
    assert_eq!(job.outputs(), [3, 6, 10].map(|rolled| json!({ "rolled": rolled })));
    assert_eq!(job.result(), json!({ "sum": 31 }));
}

#[test]
fn it_refuses_a_bad_input() {
    let bad = json!({ "dice": 0, "sides": 1001, "colour": "red" });
    let problem = TestServer::start().call("dice_roll", bad).unwrap_err();
    assert_eq!(problem.extensions["errors"].as_array().unwrap().len(), 3);
}
