//! REST: any method, path and body through the server's router, without a socket.

use crate::base::bytes::Reader;
use crate::front::probe::Probe;

/// Requests, one behind the other: each is answered, none with a fault of the server's, and what
/// is answered as JSON is JSON.
pub fn rest(bytes: &[u8]) {
    Probe::with(|probe| {
        let mut input = Reader::new(bytes);
        while let Some(request) = super::chunk(&mut input, 4096) {
            let Some((method, rest)) = request.split_first() else {
                return;
            };
            let at = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
            let (path, body) = rest.split_at(at);
            let body = body.get(1..).unwrap_or_default();
            let answer = probe.ask(*method, path, body);
            let Some((status, json)) = answer else {
                continue;
            };
            assert!(
                status < 500,
                "{status} to {}",
                String::from_utf8_lossy(path)
            );
            if let Some(json) = json {
                let read: Result<serde_json::Value, _> = serde_json::from_slice(&json);
                assert!(read.is_ok(), "not JSON: {}", String::from_utf8_lossy(&json));
            }
        }
    });
}
