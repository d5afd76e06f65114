//! The server.

use compare_jsonrpsee::{Dice, DiceApiServer as _};
use jsonrpsee::server::Server;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let server = Server::builder().build("127.0.0.1:3000").await?;
    println!("listening on ws://{}", server.local_addr()?);
    server.start(Dice.into_rpc()).stopped().await;
    Ok(())
}
