//! The yardstick of sign-ins: argon2id alone, one thread for each core, each reusing its memory.
//!
//! `cargo run --release --example argon2_alone -- MEMORY_KIB PASSES SECONDS` prints hashes a second.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a yardstick, not a service")]

use argon2::{Algorithm, Argon2, Block, Params, Version};
use mimalloc::MiMalloc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|n| n.parse::<u32>().expect("MEMORY_KIB PASSES SECONDS"));
    let mut next = || arguments.next().expect("MEMORY_KIB PASSES SECONDS");
    let (memory, passes, seconds) = (next(), next(), next());
    let params = Params::new(memory, passes, 1, Some(32)).expect("parameters within RFC 9106");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds.into());
    let hashes: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| count_until(until, &params))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread that counts")).sum()
    });
    println!("{}", hashes as f64 / began.elapsed().as_secs_f64());
}

fn count_until(until: Instant, params: &Params) -> u64 {
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let (mut tag, mut hashes) = ([0; 32], 0);
    while Instant::now() < until {
        argon2.hash_password_into_with_memory(b"fern tablet ocean quartz", &[7; 16], &mut tag, &mut memory).expect("a hash");
        hashes += 1;
    }
    hashes
}
