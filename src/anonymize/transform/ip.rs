//! `ip = "prefix"`: an address of the same network, whose rest is drawn.
//!
//! `v4` and `v6` say how many bits stay (16 and 32 if nothing is said; 0 to 24 and 0 to 64). What follows a `/` stays. Option:
//! `domain`.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::anonymize::key::DomainKey;
use crate::anonymize::rule::Rule;
use crate::anonymize::schema::Kind;

use super::{ATTEMPTS, Building, Class, Made, Place, Survey, Transformer, Unfit, Verb};

/// The verb.
pub const VERB: Verb =
    Verb { name: "ip", options: &["v4", "v6", "domain"], has_domain: true, build };

#[derive(Debug)]
struct Ip {
    key: DomainKey,
    v4: u32,
    v6: u32,
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    rule.word("ip", &["prefix"])?;
    if *building.kind != Kind::Address {
        building.needs_text(39)?;
    }
    let bits = |key, default, most| -> Result<u32, String> {
        let bits = rule.number(key, 0, most)?.unwrap_or(default);
        Ok(u32::try_from(bits).unwrap_or(0))
    };
    let key = building.key.domain(&rule.domain("ip")?);
    Ok(Box::new(Ip { key, v4: bits("v4", 16, 24)?, v6: bits("v6", 32, 64)? }))
}

fn read(value: &str) -> Result<(IpAddr, &str), Unfit> {
    let at = value.find('/').unwrap_or(value.len());
    let (address, mask) = value.split_at(at);
    Ok((address.parse().map_err(|_| "it is no address")?, mask))
}

impl Transformer for Ip {
    fn apply(&self, value: &str, _: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        let (address, mask) = read(value)?;
        for attempt in 0..ATTEMPTS {
            let mut draw = self.key.draw(&address.to_string(), attempt);
            let made = match address {
                IpAddr::V4(address) => {
                    let kept = u32::MAX.checked_shl(32 - self.v4).unwrap_or(0);
                    let drawn = (draw.next_bits() >> 32) as u32;
                    IpAddr::V4(Ipv4Addr::from(u32::from(address) & kept | drawn & !kept))
                }
                IpAddr::V6(address) => {
                    let kept = u128::MAX.checked_shl(128 - self.v6).unwrap_or(0);
                    let drawn = u128::from(draw.next_bits()) << 64 | u128::from(draw.next_bits());
                    IpAddr::V6(Ipv6Addr::from(u128::from(address) & kept | drawn & !kept))
                }
            };
            if made != address {
                write!(out, "{made}{mask}").map_err(|_| "it cannot be written")?;
                return Ok(Made::Value);
            }
        }
        Err("no address is left for it".into())
    }

    fn survey(&self, value: &str, survey: &mut Survey<'_>) -> Result<(), Unfit> {
        read(value)?;
        survey.gatherer.take(self.class(), value);
        Ok(())
    }

    fn class(&self) -> Class {
        // Addresses are met by chance, as short numbers are.
        Class::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, contract, made, some, try_made};

    #[test]
    fn it_keeps_the_contract() {
        let v4 = some("(1[0-9]{2}|[1-9][0-9])(\\.[1-9][0-9]?){3}", 200);
        contract("ip = \"prefix\"", "inet", &v4);
        contract("ip = \"prefix\"\nv4 = 24", "text", &v4);
        contract("ip = \"prefix\"", "inet", &some("2001:db8(:[1-9a-f][0-9a-f]{3}){6}", 200));
    }

    #[test]
    fn the_network_stays() {
        let ip = made("ip = \"prefix\"\nv4 = 24\nv6 = 48", "inet");
        assert!(applied(&*ip, "192.0.2.17").unwrap().starts_with("192.0.2."));
        assert!(applied(&*ip, "2001:db8:1:2::5/64").unwrap().starts_with("2001:db8:1:"));
        assert!(applied(&*ip, "2001:db8:1:2::5/64").unwrap().ends_with("/64"));
        let none = made("ip = \"prefix\"\nv4 = 0\nv6 = 0", "inet");
        applied(&*none, "192.0.2.17").unwrap();
        applied(&*none, "::1").unwrap();
        assert!(applied(&*ip, "localhost").is_err());
        assert!(try_made("ip = \"prefix\"\nv4 = 32", "inet", 1).is_err());
    }
}
