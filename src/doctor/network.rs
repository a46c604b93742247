//! The network: ports, buffers, offloads, and the addresses that clients are told.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use super::Finding;
use super::Verdict::{Bad, Good, Warning};
use crate::config::Config;
use crate::net;

/// Whether HTTP or HTTPS can listen; `setting` names the address.
pub(super) fn tcp_port(subject: &'static str, listen: SocketAddr, setting: &str) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) => Finding::new(subject, Good, format!("{listen} is free")),
        Err(error) => Finding::new(
            subject,
            Bad,
            format!("{listen}: {error}{}", hint(&error, setting)),
        ),
    }
}

/// Whether every worker's port is free; what the kernel gives a media socket.
pub(super) fn media(config: &Config) -> Vec<Finding> {
    let subject = "media ports";
    let workers = config.server.workers as u16;
    let first = config.media.port;
    let ports = match first {
        0 => vec![0],
        first if config.media.single_port => vec![first],
        first => (first..first.saturating_add(workers)).collect(),
    };
    for &port in &ports {
        let addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        if let Err(error) = UdpSocket::bind(addr) {
            let hint = hint(&error, "--media-port");
            return vec![Finding::new(
                subject,
                Bad,
                format!("UDP {port}: {error}{hint}"),
            )];
        }
    }
    let said = match first {
        0 => "any free ones: a firewall cannot know them".to_owned(),
        first if config.media.single_port => format!("UDP {first} is free, for {workers} workers"),
        first => format!("UDP {first} to {} are free", first + workers - 1),
    };
    let mut findings = vec![Finding::new(subject, Good, said)];
    match net::UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))) {
        Ok(socket) => findings.extend(granted(socket.granted())),
        Err(error) => findings.push(Finding::new(subject, Bad, error.to_string())),
    }
    if config.media.single_port {
        findings.push(shared(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))));
    }
    findings
}

/// Whether the kernel lets workers share a port.
fn shared(addr: SocketAddr) -> Finding {
    let subject = "single media port";
    let first = net::UdpSocket::bind_shared(addr);
    let second = first.and_then(|first| {
        let second = net::UdpSocket::bind_shared(first.local_addr())?;
        Ok((first, second))
    });
    match second {
        Ok(_) => Finding::new(subject, Good, "SO_REUSEPORT is used"),
        Err(error) => {
            let text = format!("SO_REUSEPORT: {error}; single_port cannot be used here");
            Finding::new(subject, Bad, text)
        }
    }
}

/// Whether every worker's TCP port for media is free, from `first` on.
pub(super) fn media_tcp(first: u16, workers: u16) -> Finding {
    let subject = "media TCP ports";
    if first == 0 {
        let text = "any free ones: a firewall cannot know them";
        return Finding::new(subject, Good, text);
    }
    let last = first.saturating_add(workers - 1);
    for port in first..=last {
        let addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        if let Err(error) = TcpListener::bind(addr) {
            let hint = hint(&error, "--media-tcp-port");
            let text = format!("TCP {port}: {error}{hint}");
            return Finding::new(subject, Bad, text);
        }
    }
    Finding::new(subject, Good, format!("TCP {first} to {last} are free"))
}

fn granted(granted: net::Granted) -> [Finding; 3] {
    let buffers = [
        ("net.core.rmem_max", granted.recv_buffer_len),
        ("net.core.wmem_max", granted.send_buffer_len),
    ];
    let small = buffers.iter().filter(|(_, len)| *len < WANTED_BUFFER_LEN);
    let small: Vec<String> = small
        .map(|(name, len)| format!("{name} allows {} KiB", len / 1024))
        .collect();
    let buffers = if small.is_empty() {
        Finding::new("socket buffers", Good, "8 MiB each way")
    } else {
        let text = format!(
            "{}; a burst beyond that is lost. sysctl -w net.core.rmem_max=8388608 \
             net.core.wmem_max=8388608 (packaging/sysctl.conf), or run with CAP_NET_ADMIN",
            small.join(", ")
        );
        Finding::new("socket buffers", Warning, text)
    };
    let offload = |subject, has: bool, name: &str, since: &str| {
        if has {
            Finding::new(subject, Good, format!("{name} is used"))
        } else {
            let text = format!("{name} is refused: Linux {since} or later is needed");
            Finding::new(subject, Warning, text)
        }
    };
    [
        buffers,
        offload("send offload", granted.gso, "UDP_SEGMENT", "4.18"),
        offload("receive offload", granted.gro, "UDP_GRO", "5.0"),
    ]
}

/// What clients are told, and whether it leads back here.
pub(super) fn addresses(config: &Config) -> Vec<Finding> {
    let subject = "addresses";
    let own = match net::local_addresses() {
        Ok(own) => own,
        Err(error) => {
            let text = format!("this host's own cannot be listed: {error}; set --announce");
            return vec![Finding::new(subject, Bad, text)];
        }
    };
    if config.media.announce.is_empty() {
        return vec![own_addresses(&own)];
    }
    let announce = config.media.announce.iter();
    announce.map(|&ip| announced(ip, &own)).collect()
}

fn own_addresses(own: &[IpAddr]) -> Finding {
    let subject = "addresses";
    let list: Vec<String> = own.iter().map(ToString::to_string).collect();
    let list = list.join(", ");
    if own.is_empty() {
        let text = "only 127.0.0.1: nobody on another machine can send media; set --announce";
        Finding::new(subject, Warning, text)
    } else if own.iter().all(|ip| is_private(*ip)) {
        let text = format!(
            "clients are told {list}: private ones. Clients elsewhere need --announce PUBLIC-IP"
        );
        Finding::new(subject, Warning, text)
    } else {
        Finding::new(subject, Good, format!("clients are told {list}"))
    }
}

/// Reachable from the same site only, or from behind the same carrier's NAT (RFC 1918, RFC 3927,
/// RFC 4193, RFC 6598).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

/// 100.64.0.0/10.
fn is_shared(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [100, 64..=127, ..])
}

fn announced(ip: IpAddr, own: &[IpAddr]) -> Finding {
    let subject = "announced address";
    let is_own = own.contains(&ip) || ip.is_loopback();
    match (comes_back(ip), is_own) {
        (Ok(true), true) => Finding::new(subject, Good, format!("{ip} is this host's own")),
        (Ok(true), false) => {
            Finding::new(subject, Good, format!("a packet to {ip} came back to here"))
        }
        (Ok(false), _) => Finding::new(
            subject,
            Warning,
            format!(
                "a packet to {ip} did not come back: the router forwards no UDP ports to this \
                 host, or not from within. Try from outside"
            ),
        ),
        (Err(error), _) => Finding::new(subject, Bad, format!("{ip}: {error}")),
    }
}

/// Sends a packet to a port of this host by way of `ip` and waits for it.
fn comes_back(ip: IpAddr) -> io::Result<bool> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let listener = UdpSocket::bind((any, 0))?;
    listener.set_read_timeout(Some(COMES_BACK_WITHIN))?;
    let sender = UdpSocket::bind((any, 0))?;
    let word = sender.local_addr()?.to_string();
    sender.send_to(word.as_bytes(), (ip, listener.local_addr()?.port()))?;
    let mut heard = [0; 64];
    match listener.recv(&mut heard) {
        Ok(len) => Ok(heard.get(..len) == Some(word.as_bytes())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn hint(error: &io::Error, flag: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("; a server runs already, or choose another: {flag}"),
        io::ErrorKind::PermissionDenied => {
            let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
            let first = first.map_or("1024".to_owned(), |text| text.trim().to_owned());
            format!("; ports below {first} need CAP_NET_BIND_SERVICE")
        }
        _ => String::new(),
    }
}

/// What `net::UdpSocket` asks for.
const WANTED_BUFFER_LEN: usize = 8 << 20;

/// A router that reflects does so at once.
const COMES_BACK_WITHIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_bad_and_says_what_to_do() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = holder.local_addr().unwrap();
        let finding = tcp_port("HTTP port", listen, "--listen");
        assert_eq!(finding.verdict, Bad);
        assert!(finding.text.contains("--listen"), "{finding:?}");
    }

    #[test]
    fn a_tcp_port_for_media_in_use_is_bad_too() {
        let holder = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let finding = media_tcp(port, 1);
        assert_eq!(finding.verdict, Bad);
        assert!(finding.text.contains("--media-tcp-port"), "{finding:?}");
        assert_eq!(media_tcp(0, 2).verdict, Good);
    }

    #[test]
    fn a_port_is_shared_only_among_those_who_ask_for_it() {
        let finding = shared("127.0.0.1:0".parse().unwrap());
        assert_eq!(finding.verdict, Good, "{finding:?}");
        let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
        let finding = shared(holder.local_addr().unwrap());
        assert_eq!(finding.verdict, Bad, "{finding:?}");
    }

    #[test]
    fn small_buffers_and_missing_offloads_are_named_with_their_cure() {
        let [buffers, gso, gro] = granted(net::Granted {
            recv_buffer_len: 212_992,
            send_buffer_len: 16 << 20,
            gso: false,
            gro: true,
        });
        assert_eq!(buffers.verdict, Warning);
        assert!(buffers.text.contains("net.core.rmem_max allows 208 KiB"));
        assert!(!buffers.text.contains("wmem_max allows"), "{buffers:?}");
        assert_eq!((gso.verdict, gro.verdict), (Warning, Good));
    }

    #[test]
    fn loopback_comes_back() {
        assert_eq!(announced(Ipv4Addr::LOCALHOST.into(), &[]).verdict, Good);
        for private in [[10, 0, 0, 7], [100, 64, 0, 1], [100, 127, 255, 254]] {
            let finding = own_addresses(&[Ipv4Addr::from(private).into()]);
            assert!(finding.text.contains("--announce"), "{finding:?}");
        }
        let public = own_addresses(&[Ipv4Addr::new(100, 128, 0, 1).into()]);
        assert_eq!(public.verdict, Good, "{public:?}");
    }
}
