struct Hives {
    path: String,
}

#[skep::plugin(name = "hive")]
impl Hives {}

fn main() {}
