//! A proxy that loses connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A proxy to `server` that cuts the first stream after `cuts[0]` bytes of its answer, the second one
/// after `cuts[1]`, and so on; what comes then it leaves alone. Returns its address.
pub(crate) fn cutting_proxy(server: &str, cuts: &'static [usize]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (server, streams) = (server.to_owned(), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (server, streams) = (server.clone(), streams.clone());
            // A thread each: a browser also opens connections that it says nothing on.
            thread::spawn(move || relay(client, &server, &streams, cuts));
        }
    });
    address
}

/// Passes one request on, and its answer back.
fn relay(mut client: TcpStream, server: &str, streams: &AtomicUsize, cuts: &[usize]) {
    let mut request = vec![0; 16 * 1024];
    let Ok(length @ 1..) = client.read(&mut request) else { return };
    let head = String::from_utf8_lossy(&request[..length]).into_owned();
    let is_stream = head.starts_with("GET ") && head.contains("/stream HTTP");
    let cut = is_stream.then(|| cuts.get(streams.fetch_add(1, Ordering::SeqCst))).flatten();
    let mut server = TcpStream::connect(server).expect("the server is there");
    // One request a connection, so that each one is seen here.
    let head = head.replace("Connection: keep-alive\r\n", "").replacen(
        "\r\n\r\n",
        "\r\nConnection: close\r\n\r\n",
        1,
    );
    server.write_all(head.as_bytes()).expect("the server reads");
    let (rest, mut to) = (client.try_clone(), server.try_clone());
    thread::spawn(move || {
        // What is left of the request's body.
        if let (Ok(mut rest), Ok(to)) = (rest, &mut to) {
            let _ = std::io::copy(&mut rest, to);
        }
    });
    let mut answer = (&server).take(cut.map_or(u64::MAX, |cut| *cut as u64));
    // Either side may go away at any time.
    let _ = std::io::copy(&mut answer, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
