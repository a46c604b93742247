//! Real sockets on loopback, port 0.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};
use std::time::{Duration, SystemTime};

use mio::{Events, Interest, Poll, Token};

use super::udp::{Refusal, refusal};
use super::{RecvBatch, TimedBatch, UdpSocket, note_times};
use crate::base::clock::tests::test_now;
use crate::base::egress::{Egress, Route};
use crate::base::limits::{MAX_DATAGRAM_LEN, MAX_GSO_SEGMENTS};

/// Long enough for a loaded machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn bind(addr: &str) -> UdpSocket {
    UdpSocket::bind(addr.parse().unwrap()).unwrap()
}

fn client(addr: &str) -> StdSocket {
    let socket = StdSocket::bind(addr).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn route(remote: SocketAddr) -> Route {
    Route::udp(remote, None)
}

/// The kernel gives all of one client's datagrams to one socket, and only to sockets that share.
#[test]
fn sockets_that_share_an_address_get_each_client_at_one_of_them() {
    let first = UdpSocket::bind_shared("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = first.local_addr();
    assert!(UdpSocket::bind(addr).is_err(), "not shared");
    let mut sockets = [first, UdpSocket::bind_shared(addr).unwrap()];
    assert_eq!(sockets[1].local_addr(), addr);
    let clients: Vec<_> = (0..32).map(|_| client("127.0.0.1:0")).collect();
    for client in clients.iter().chain(&clients) {
        assert_eq!(client.send_to(&[1], addr).unwrap(), 1);
    }
    // Loopback delivers within the call.
    let mut seen = Vec::new();
    for socket in &mut sockets {
        let mut batch = socket.batch();
        while socket.receive(&mut batch).unwrap() > 0 {
            seen.extend(batch.datagrams().map(|(route, _)| route.remote));
        }
        seen.push(addr);
    }
    let [one, other, ..] = &seen.split(|from| *from == addr).collect::<Vec<_>>()[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(one.len() + other.len(), 64);
    assert!(!one.is_empty() && !other.is_empty(), "{seen:?}");
    assert!(one.iter().all(|from| !other.contains(from)), "{seen:?}");

    let from = clients[0].local_addr().unwrap();
    let mut egress = Egress::default();
    for (socket, tag) in sockets.iter_mut().zip(1..) {
        write(&mut egress, route(from), tag, 10);
        assert_eq!(socket.send(&egress).sent, 1);
        egress.clear();
        let mut buf = [0; 16];
        assert_eq!(clients[0].recv_from(&mut buf).unwrap(), (10, addr));
        assert_eq!(buf[0], tag);
    }
}

/// Writes one datagram of `len` bytes that begins with `tag`.
fn write(egress: &mut Egress, route: Route, tag: u8, len: usize) {
    egress.slot().unwrap()[..len].fill(tag);
    egress.commit(route, len, MAX_GSO_SEGMENTS);
}

fn read_one(socket: &StdSocket) -> Vec<u8> {
    let mut buf = [0; MAX_DATAGRAM_LEN];
    let len = socket.recv(&mut buf).unwrap();
    buf[..len].to_vec()
}

/// Receives until `count` datagrams came; messages, and (route, first byte, length) of each.
fn receive(
    socket: &mut UdpSocket,
    batch: &mut RecvBatch,
    count: usize,
) -> (usize, Vec<(Route, u8, usize)>) {
    let mut poll = Poll::new().unwrap();
    poll.registry()
        .register(socket, Token(0), Interest::READABLE)
        .unwrap();
    let mut events = Events::with_capacity(4);
    let (mut messages, mut datagrams) = (0, Vec::new());
    while datagrams.len() < count {
        match socket.receive(batch).unwrap() {
            0 => {
                poll.poll(&mut events, Some(PATIENCE)).unwrap();
                assert!(
                    !events.is_empty(),
                    "only {} datagrams came",
                    datagrams.len()
                );
            }
            n => {
                messages += n;
                datagrams.extend(batch.datagrams().map(|(r, d)| (r, d[0], d.len())));
            }
        }
    }
    poll.registry().deregister(socket).unwrap();
    (messages, datagrams)
}

#[test]
fn a_run_of_eight_arrives_as_eight_datagrams_in_order() {
    for gso in [true, false] {
        let to = client("127.0.0.1:0");
        let mut socket = bind("127.0.0.1:0");
        socket.deny_gso_unless(gso);
        let mut egress = Egress::default();
        for tag in 0..8 {
            write(&mut egress, route(to.local_addr().unwrap()), tag, 1100);
        }
        assert_eq!(egress.runs().len(), 1);
        let report = socket.send(&egress);
        assert_eq!((report.sent, report.failed), (8, 0), "gso {gso}");
        for tag in 0..8 {
            assert_eq!(read_one(&to), vec![tag; 1100], "gso {gso}");
        }
    }
}

#[test]
fn the_last_segment_may_be_short() {
    for gso in [true, false] {
        let to = client("127.0.0.1:0");
        let mut socket = bind("127.0.0.1:0");
        socket.deny_gso_unless(gso);
        let mut egress = Egress::default();
        for (tag, len) in [(1, 900), (2, 900), (3, 17)] {
            write(&mut egress, route(to.local_addr().unwrap()), tag, len);
        }
        assert_eq!(socket.send(&egress).sent, 3);
        assert_eq!(read_one(&to), vec![1; 900]);
        assert_eq!(read_one(&to), vec![2; 900]);
        assert_eq!(read_one(&to), vec![3; 17], "gso {gso}");
    }
}

#[test]
fn what_the_kernel_joined_is_split_again() {
    let mut from = bind("127.0.0.1:0");
    let mut to = bind("127.0.0.1:0");
    let mut egress = Egress::default();
    let lens = [700, 700, 700, 700, 700, 33];
    for (tag, len) in lens.into_iter().enumerate() {
        write(&mut egress, route(to.local_addr()), tag as u8, len);
    }
    from.send(&egress);
    let mut batch = to.batch();
    let (messages, datagrams) = receive(&mut to, &mut batch, lens.len());
    let want: Vec<_> = (0..).zip(lens).collect();
    let got: Vec<_> = datagrams.iter().map(|&(_, tag, len)| (tag, len)).collect();
    assert_eq!(got, want);
    assert!(datagrams.iter().all(|d| d.0 == route(from.local_addr())));
    if from.granted().gso && to.granted().gro {
        assert_eq!(messages, 1, "one message carried the run");
    }
}

#[test]
fn more_messages_than_one_call_takes_all_arrive() {
    let mut from = bind("127.0.0.1:0");
    let mut to = bind("127.0.0.1:0");
    let mut batch = to.batch();
    let other = client("127.0.0.1:0").local_addr().unwrap();
    let mut egress = Egress::default();
    for tag in 0..300_usize {
        write(&mut egress, route(to.local_addr()), tag as u8, 20);
        write(&mut egress, route(other), 0, 20);
    }
    assert_eq!(egress.runs().len(), 600);
    assert_eq!(from.send(&egress).sent, 600);
    let (_, datagrams) = receive(&mut to, &mut batch, 300);
    let tags: Vec<_> = datagrams.iter().map(|d| d.1).collect();
    assert_eq!(tags, (0..300_usize).map(|t| t as u8).collect::<Vec<_>>());
}

#[test]
fn the_answer_leaves_from_the_address_that_was_talked_to() {
    // The kernel would choose 127.0.0.1 by itself.
    let talked_to = ["127.0.0.1", "127.0.0.2"];
    let bound = ["0.0.0.0:0", "[::]:0"].into_iter();
    for (bound, addr) in bound.flat_map(|bound| talked_to.map(|addr| (bound, addr))) {
        let Ok(mut server) = UdpSocket::bind(bound.parse().unwrap()) else {
            continue; // a host without IPv6
        };
        let local: IpAddr = addr.parse().unwrap();
        let to = client("127.0.0.1:0");
        to.connect((local, server.local_addr().port())).unwrap();
        to.send(b"question").unwrap();
        let mut batch = server.batch();
        let (_, datagrams) = receive(&mut server, &mut batch, 1);
        let route = datagrams[0].0;
        assert_eq!(route.local, Some(local), "{bound}");
        assert_eq!(route.remote, to.local_addr().unwrap(), "{bound}");

        let mut egress = Egress::default();
        for tag in 1..=3 {
            write(&mut egress, route, tag, 50);
        }
        server.begin_send(test_now().instant);
        assert_eq!(server.send(&egress).sent, 3);
        // Connected: datagrams from any other address would not be delivered.
        assert_eq!(read_one(&to), [1; 50]);
        assert_eq!(read_one(&to), [2; 50]);
    }
}

#[test]
fn a_refused_destination_does_not_stop_the_others() {
    let to = client("127.0.0.1:0");
    let good = route(to.local_addr().unwrap());
    let mut socket = bind("127.0.0.1:0");
    let mut egress = Egress::default();
    write(&mut egress, good, 1, 10);
    write(
        &mut egress,
        route("255.255.255.255:9".parse().unwrap()),
        0,
        10,
    );
    write(&mut egress, route("127.0.0.1:0".parse().unwrap()), 0, 10);
    write(&mut egress, route("127.0.0.1:0".parse().unwrap()), 0, 10);
    write(&mut egress, route("[::1]:9".parse().unwrap()), 0, 10);
    write(&mut egress, good, 2, 10);
    let report = socket.send(&egress);
    assert_eq!(
        (report.sent, report.failed, report.would_block),
        (2, 4, false)
    );
    assert_eq!(read_one(&to), [1; 10]);
    assert_eq!(read_one(&to), [2; 10]);
    assert!(
        socket.granted().gso,
        "EINVAL of one path costs nobody else its runs"
    );
}

#[test]
fn only_a_refusal_by_the_host_turns_runs_off() {
    let read = |errno, is_run| refusal(&io::Error::from_raw_os_error(errno), is_run);
    assert_eq!(read(libc::EAGAIN, true), Refusal::Full);
    assert_eq!(read(libc::EIO, true), Refusal::OffloadGone);
    assert_eq!(read(libc::EIO, false), Refusal::Message);
    assert_eq!(read(libc::EINVAL, true), Refusal::Run);
    assert_eq!(read(libc::EMSGSIZE, true), Refusal::Run);
    assert_eq!(read(libc::ECONNREFUSED, true), Refusal::Message);
    assert_eq!(read(libc::ENETUNREACH, false), Refusal::Message);
}

#[test]
fn a_datagram_longer_than_its_slot_is_dropped_and_counted() {
    let mut to = bind("127.0.0.1:0");
    let mut batch = RecvBatch::new(false);
    let from = client("127.0.0.1:0");
    from.send_to(&[1; 9000], to.local_addr()).unwrap();
    from.send_to(&[], to.local_addr()).unwrap();
    from.send_to(&[2; 9], to.local_addr()).unwrap();
    let (_, datagrams) = receive(&mut to, &mut batch, 1);
    assert_eq!((datagrams[0].1, datagrams[0].2), (2, 9));
    assert_eq!(batch.truncated(), 1);
}

#[test]
fn the_buffers_were_enlarged() {
    let granted = bind("127.0.0.1:0").granted();
    assert!(
        granted.recv_buffer_len > 0 && granted.send_buffer_len > 0,
        "{granted:?}"
    );
}

#[test]
fn a_datagram_that_is_read_late_says_when_it_came() {
    let receiver = client("127.0.0.1:0");
    note_times(&receiver).unwrap();
    let sender = client("127.0.0.1:0");
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    let mut batch = TimedBatch::default();
    assert!(!batch.receive(&receiver).unwrap(), "nothing waits");
    assert_eq!(batch.datagrams().count(), 0);
    for len in [100, 3000, 0, 1200] {
        sender.send(&vec![len as u8; len]).unwrap();
    }
    let mut came = Vec::new();
    while came.len() < 3 {
        batch.receive(&receiver).unwrap();
        came.extend(batch.datagrams().map(|(at, d)| (at.unwrap(), d.len())));
    }
    let lens: Vec<usize> = came.iter().map(|(_, len)| *len).collect();
    assert_eq!(
        lens,
        [100, 0, 1200],
        "what was longer than a slot is left out"
    );
    assert!(came.iter().map(|(at, _)| at).is_sorted(), "{came:?}");
    let read = SystemTime::UNIX_EPOCH + Duration::from_micros(came[0].0);
    assert!(read.elapsed().unwrap() < PATIENCE);
}
