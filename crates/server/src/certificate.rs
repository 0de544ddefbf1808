//! Until when the certificate that the server shows is good, and what is said of it before it is no more.
//!
//! One that has expired stops no map: but nobody gets in any more, at the hour when somebody has to. So it is told in good
//! time, and everywhere where people look. What is good time depends on how long the certificate was made for: two weeks, and
//! for one that is renewed more often the last third of its life.
//!
//! All that is wanted of a certificate stands at a fixed place in it (RFC 5280, 4.1), so it is read from there, and not with a
//! parser of everything that a certificate may say. What cannot be read is not known, and nothing is said of it.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tandem_core::Finding;

/// How long before its end a certificate is spoken of, at most.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// From when until when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
}

impl Validity {
    /// Of a certificate in DER. None if it cannot be told.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let certificate = Element::first(certificate)?.within(SEQUENCE)?;
        let mut fields = Element::first(certificate)?.within(SEQUENCE)?;
        if Element::first(fields)?.tag == VERSION {
            fields = Element::first(fields)?.rest;
        }
        // The serial number, the algorithm of the signature, and who made it.
        for _ in 0..3 {
            fields = Element::first(fields)?.rest;
        }
        let from = Element::first(Element::first(fields)?.within(SEQUENCE)?)?;
        let until = Element::first(from.rest)?;
        Some(Self { from: from.moment()?, until: until.moment()? })
    }

    /// What is to be said of it, if anything.
    pub fn finding(&self, now: Timestamp) -> Option<Finding> {
        let whole = self.until.duration_since(self.from);
        let left = self.until.duration_since(now);
        if left > SOON.min(whole / 3) {
            return None;
        }
        let day = self.until.strftime("%Y-%m-%d %H:%MZ");
        let said = match left.is_positive() {
            true => format!("the server's certificate expires in {}, at {day}", coarse(left)),
            false => {
                format!(
                    "the server's certificate expired {} ago, at {day}: no client trusts it",
                    coarse(-left)
                )
            }
        };
        let fix = "put a new certificate and its key in place of the old ones, then: tandem reload";
        Some(Finding::warning("certificate_expires", "[server] tls", said).fix(fix))
    }
}

/// In its largest unit.
fn coarse(span: SignedDuration) -> String {
    match (span.as_hours(), span.as_mins()) {
        (48.., _) => format!("{} days", span.as_hours() / 24),
        (2.., _) => format!("{} hours", span.as_hours()),
        (_, 2..) => format!("{} minutes", span.as_mins()),
        _ => "a minute".to_owned(),
    }
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// One element in DER, and what stands behind it.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(der: &'a [u8]) -> Option<Self> {
        let (tag, der) = der.split_first()?;
        let (length, der) = der.split_first()?;
        let (length, der) = match length {
            0..=0x7f => (usize::from(*length), der),
            // So many bytes of length follow; four are more than any certificate has.
            0x81..=0x84 => {
                let (digits, der) = der.split_at_checked(usize::from(length - 0x80))?;
                (digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit)), der)
            }
            _ => return None,
        };
        let (content, rest) = der.split_at_checked(length)?;
        Some(Self { tag: *tag, content, rest })
    }

    /// What is in it, if it is of this kind.
    fn within(&self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.content)
    }

    fn moment(&self) -> Option<Timestamp> {
        let text = std::str::from_utf8(self.content).ok()?;
        let whole = match self.tag {
            GENERALIZED_TIME => text.to_owned(),
            // Two digits of the year: those from 50 on are of the last century.
            UTC_TIME => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
            _ => return None,
        };
        let civil = DateTime::strptime("%Y%m%d%H%M%SZ", whole).ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use std::process::Command;

    /// A certificate of so many days, as openssl makes it, in DER.
    fn made(days: &str, more: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let text =
            format!("req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout k -out c -days {days}{more}");
        let made = Command::new("openssl").args(text.split(' ')).current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        CertificateDer::from_pem_file(folder.path().join("c")).unwrap().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_found_whatever_else_it_says() {
        let day = |validity: &Validity| (validity.until.duration_since(validity.from).as_hours() + 1) / 24;
        // Behind 2049 the year is written otherwise.
        for (days, more) in
            [("2", ""), ("30000", ""), ("90", " -addext subjectAltName=DNS:a,DNS:b"), ("3", " -set_serial 1")]
        {
            let validity = Validity::of(&made(days, more)).unwrap();
            assert_eq!(day(&validity).to_string(), days);
            assert!(Timestamp::now().duration_since(validity.from).abs() < SignedDuration::from_mins(2));
        }
        let whole = made("2", "");
        // What is torn off is not known, and nothing is read beyond its end.
        for end in 0..whole.len() {
            assert!(Validity::of(whole.get(..end).unwrap()).is_none(), "{end}");
        }
        assert!(Validity::of(b"").is_none() && Validity::of(&[SEQUENCE, 0x84, 255, 255, 255, 255]).is_none());
    }

    #[test]
    fn it_is_spoken_of_two_weeks_before_the_end_or_in_the_last_third() {
        let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let hours = SignedDuration::from_hours;
        let check = |days: i64, left: SignedDuration, said: Option<&str>| {
            let until = from + hours(days * 24);
            let found = Validity { from, until }.finding(until - left);
            assert_eq!(found.is_some(), said.is_some(), "{found:?}");
            if let (Some(found), Some(said)) = (found, said) {
                assert!(found.message.contains(said), "{found:?}");
            }
        };
        check(365, hours(14 * 24 + 1), None);
        check(365, hours(14 * 24), Some("expires in 14 days, at 2027-01-01 00:00Z"));
        check(6, hours(3 * 24), None);
        check(6, hours(47), Some("expires in 47 hours"));
        check(365, SignedDuration::from_mins(90), Some("expires in 90 minutes"));
        check(365, hours(-24 * 3), Some("expired 3 days ago"));
    }
}
