//! The yardstick: a bare actix-web handler that answers a constant of a given size, with the same server settings as usher.
//!
//! `cargo run --release --example bare -- ADDRESS BYTES` prints a line once it listens.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a yardstick, not a service")]

use actix_web::{App, HttpResponse, HttpServer, web};
use mimalloc::MiMalloc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::io::Result<()> {
    actix_web::rt::System::new().block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("ADDRESS BYTES");
    let bytes: usize = arguments.next().and_then(|n| n.parse().ok()).expect("ADDRESS BYTES");
    let body = "x".repeat(bytes);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let server = HttpServer::new(move || {
        let body = body.clone();
        let constant = move || {
            let body = body.clone();
            async move { HttpResponse::Ok().content_type("application/json").body(body) }
        };
        App::new().default_service(web::to(constant))
    })
    .workers(workers)
    .client_request_timeout(Duration::from_secs(5))
    .keep_alive(Duration::from_secs(60))
    .bind(&address)?;
    println!("listens on {address}");
    server.run().await
}
