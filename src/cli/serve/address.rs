//! The address of a network interface, out of what the kernel tells in /proc.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::instance::config::ListenAddress;

/// Where that is; `None` if there is no such interface with an address.
pub fn resolve(address: &ListenAddress) -> Option<SocketAddr> {
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, address.port));
    }
    if address.host == "lo" {
        return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port));
    }
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    let local = fs::read_to_string("/proc/net/fib_trie").ok()?;
    let ip = of_interface(&address.host, &routes, &local)?;
    Some(SocketAddr::new(IpAddr::V4(ip), address.port))
}

/// The address of this machine that lies in the network of an interface. `routes` and `local` are the texts of
/// /proc/net/route and /proc/net/fib_trie.
fn of_interface(name: &str, routes: &str, local: &str) -> Option<Ipv4Addr> {
    let networks: Vec<(u32, u32)> = routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (interface, network, mask) = (words.first()?, words.get(1)?, words.get(7)?);
            // Numbers stand there as they are in memory, lowest byte first.
            let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
            let (network, mask) = (number(network)?, number(mask)?);
            (*interface == name && mask != 0).then_some((network, mask))
        })
        .collect();
    let mut last = None;
    for line in local.lines() {
        let text = line.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '/');
        let word = text.split_whitespace().next().unwrap_or_default();
        if line.contains("|--") {
            last = word.parse::<Ipv4Addr>().ok();
        } else if line.contains("/32 host LOCAL")
            && let Some(ip) = last
            && networks.iter().any(|(network, mask)| u32::from(ip) & mask == *network)
        {
            return Some(ip);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    const LOCAL: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
+-- 172.17.0.0/16 2 0 2\n        |-- 172.17.0.0\n           /16 link UNICAST\n        |-- 172.17.0.1\n           \
/32 host LOCAL\n        |-- 172.17.255.255\n           /32 link BROADCAST\n     |-- 192.168.2.7\n        /32 host LOCAL\n";

    #[test]
    fn an_interface_has_the_address_of_its_network() {
        let of = |name: &str| of_interface(name, ROUTES, LOCAL);
        assert_eq!(of("docker0"), Some(Ipv4Addr::new(172, 17, 0, 1)));
        assert_eq!(of("eth0"), Some(Ipv4Addr::new(192, 168, 2, 7)));
        assert_eq!(of("wlan0"), None);
        assert_eq!(of_interface("docker0", "", "garbage\n|-- x\n/32 host LOCAL"), None);
    }
}
