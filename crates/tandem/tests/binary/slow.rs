//! A way to a PostgreSQL server on which the server's log comes late, and everything else as fast as ever: one direction
//! of a two-way map lies behind the other.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Opens it. Returns its port; it stays open as long as the test's process.
pub(crate) fn slow_log(server: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // A server that is away is away behind this, too.
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
            std::thread::spawn(move || connect(client, server, delay));
        }
    });
    port
}

fn connect(mut client: TcpStream, mut server: TcpStream, delay: Duration) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    // The first message says what the connection is for; nothing of it is encrypted.
    let mut length = [0; 4];
    if client.read_exact(&mut length).is_err() {
        return;
    }
    let mut first = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
    if client.read_exact(&mut first).is_err() || server.write_all(&[&length[..], &first].concat()).is_err() {
        return;
    }
    let is_log = has(&first, b"replication");
    let (asked, started) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    let (from_client, to_server, asks) =
        (client.try_clone().unwrap(), server.try_clone().unwrap(), asked.clone());
    std::thread::spawn(move || {
        pass(from_client, to_server, |piece| {
            asks.fetch_or(is_log && has(piece, b"START_REPLICATION"), Ordering::Relaxed);
            Duration::ZERO
        })
    });
    // Until the answer to that the two talk as fast as ever; all behind it is the log, and comes late in its order.
    pass(server, client, |_| {
        let is_behind = asked.load(Ordering::Relaxed) && started.swap(true, Ordering::Relaxed);
        if is_behind { delay } else { Duration::ZERO }
    });
}

fn has(piece: &[u8], word: &[u8]) -> bool {
    piece.windows(word.len()).any(|here| here == word)
}

/// Passes on what comes, each piece so much later.
fn pass(mut from: TcpStream, mut to: TcpStream, delay: impl Fn(&[u8]) -> Duration) {
    let (put, take) = mpsc::channel::<(Instant, Vec<u8>)>();
    let writer = std::thread::spawn(move || {
        for (due, piece) in take {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let piece = buffer[..n].to_vec();
        if put.send((Instant::now() + delay(&piece), piece)).is_err() {
            break;
        }
    }
    drop(put);
    let _ = writer.join();
    let _ = from.shutdown(Shutdown::Both);
}
