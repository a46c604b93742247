//! HTTPS: the certificate's hosts and time, and whether an authority would find this host.

use std::net::{IpAddr, ToSocketAddrs};

use super::Finding;
use super::Verdict::{Bad, Good, Warning};
use super::network;
use crate::config::{Acme, Config, Tls, TlsCertificate};
use crate::front::{About, Certificates};
use crate::net;

/// Whether HTTPS can be served, and to whom; `now_s` is in seconds since 1970.
pub(super) fn https(config: &Config, tls: &Tls, now_s: u64) -> Vec<Finding> {
    let mut findings = vec![network::tcp_port("HTTPS port", tls.listen, "tls_listen")];
    let about = Certificates::examine(&tls.certificate);
    match &tls.certificate {
        TlsCertificate::Files { .. } => findings.push(match about {
            Ok(Some(about)) => judge(&about, now_s),
            Ok(None) => Finding::new(SUBJECT, Bad, "there is none"),
            Err(error) => Finding::new(SUBJECT, Bad, error),
        }),
        TlsCertificate::Acme(acme) => {
            findings.push(ordered(about, acme, now_s));
            if tls.listen.port() != HTTPS_PORT {
                let text = format!(
                    "{} looks at port {HTTPS_PORT} of every domain: it must lead to {}",
                    acme.directory_url, tls.listen
                );
                findings.push(Finding::new("authority", Warning, text));
            }
            let mut ours = net::local_addresses().unwrap_or_default();
            ours.extend(&config.media.announce);
            let names = acme.domains.iter();
            findings.extend(names.map(|name| found(name, &resolve(name), &ours)));
        }
    }
    findings
}

/// A certificate that somebody else renews.
fn judge(about: &About, now_s: u64) -> Finding {
    let names = about.names.join(", ");
    let (begin, end) = (about.begin(), about.end());
    let (verdict, text) = if about.names.is_empty() {
        let text = "names no host as subjectAltName, and browsers look nowhere else";
        (Bad, text.to_owned())
    } else if about.end_s <= now_s {
        (Bad, format!("for {names} ended on {end}: renew it"))
    } else if about.begin_s > now_s {
        let text = format!("for {names} begins on {begin}: is the clock right?");
        (Bad, text)
    } else if about.is_self_issued {
        let text = format!("for {names} is signed by itself: browsers ask before they go on");
        (Warning, text)
    } else if about.end_s - now_s < SOON_S {
        (Warning, format!("for {names} ends on {end}: renew it"))
    } else {
        (Good, format!("for {names} until {end}"))
    };
    Finding::new(SUBJECT, verdict, text)
}

/// A certificate that the server orders and renews by itself.
fn ordered(about: Result<Option<About>, String>, acme: &Acme, now_s: u64) -> Finding {
    let names = acme.domains.join(", ");
    match about {
        Err(error) => Finding::new(SUBJECT, Bad, error),
        Ok(Some(about)) if about.end_s > now_s => {
            let text = format!("for {names} until {}", about.end());
            Finding::new(SUBJECT, Good, text)
        }
        Ok(_) => {
            let text = format!(
                "none for {names} is kept in {}: a start orders one from {}",
                acme.cache_dir.display(),
                acme.directory_url
            );
            Finding::new(SUBJECT, Warning, text)
        }
    }
}

fn resolve(domain: &str) -> Vec<IpAddr> {
    let addrs = (domain, HTTPS_PORT).to_socket_addrs();
    addrs.map_or_else(|_| Vec::new(), |addrs| addrs.map(|a| a.ip()).collect())
}

/// Whether the authority, which looks for `domain`, comes to this host.
fn found(domain: &str, addresses: &[IpAddr], ours: &[IpAddr]) -> Finding {
    let subject = "domain";
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let list = list.join(", ");
    if addresses.is_empty() {
        let text = format!("{domain} has no address: nobody finds this host by it");
        Finding::new(subject, Bad, text)
    } else if addresses
        .iter()
        .all(|ip| ours.contains(ip) || ip.is_loopback())
    {
        Finding::new(subject, Good, format!("{domain} leads to {list}, to here"))
    } else {
        let text = format!(
            "{domain} leads to {list}, not all of them this host's own or announced: the authority \
             may look elsewhere"
        );
        Finding::new(subject, Warning, text)
    }
}

const SUBJECT: &str = "certificate";

const HTTPS_PORT: u16 = 443;

/// Two weeks: what renews by itself has done it by then.
const SOON_S: u64 = 14 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_700_000_000;

    fn about(names: &[&str], begin_s: u64, end_s: u64) -> About {
        About {
            names: names.iter().map(ToString::to_string).collect(),
            begin_s,
            end_s,
            is_self_issued: false,
        }
    }

    #[test]
    fn a_certificate_is_judged_by_hosts_time_and_issuer() {
        let names = ["a.example", "b.example"];
        let good = about(&names, NOW_S, NOW_S + SOON_S);
        let own = About {
            is_self_issued: true,
            ..good.clone()
        };
        let cases = [
            (good, Good, "for a.example, b.example until 2023-11-28T"),
            (own, Warning, "signed by itself"),
            (about(&[], 0, u64::MAX), Bad, "names no host"),
            (about(&names, 0, NOW_S), Bad, "ended on 2023-11-14T"),
            (
                about(&names, NOW_S + 1, NOW_S + 9),
                Bad,
                "begins on 2023-11-14T",
            ),
            (
                about(&names, 0, NOW_S + SOON_S - 1),
                Warning,
                "ends on 2023-11-28T",
            ),
        ];
        for (about, verdict, text) in cases {
            let finding = judge(&about, NOW_S);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.text.contains(text), "{finding:?}");
        }
    }

    #[test]
    fn a_domain_is_held_against_this_hosts_addresses() {
        let [ours, theirs] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        let verdict = |addresses: &[IpAddr]| found("a.example", addresses, &[ours]).verdict;
        assert_eq!(verdict(&[]), Bad);
        assert_eq!(verdict(&[ours]), Good);
        assert_eq!(verdict(&[ours, theirs]), Warning);
        assert_eq!(verdict(&[theirs]), Warning);
    }
}
