//! The server; with the argument `openapi`, its description.

use dropshot::{ConfigDropshot, ConfigLogging, ConfigLoggingLevel, ServerBuilder};

#[tokio::main]
async fn main() -> Result<(), String> {
    let api = compare_dropshot::api();
    if std::env::args().nth(1).as_deref() == Some("openapi") {
        let openapi = api.openapi("Dice", semver::Version::new(0, 1, 0));
        return openapi.write(&mut std::io::stdout()).map_err(|error| error.to_string());
    }
    let log = ConfigLogging::StderrTerminal { level: ConfigLoggingLevel::Info }
        .to_logger("dice")
        .map_err(|error| error.to_string())?;
    let bind_address = ([127, 0, 0, 1], 3000).into();
    ServerBuilder::new(api, (), log)
        .config(ConfigDropshot { bind_address, ..ConfigDropshot::default() })
        .start()
        .map_err(|error| error.to_string())?
        .await
}
