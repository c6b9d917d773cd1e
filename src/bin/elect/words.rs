//! The arguments of the guard, which `elect` starts itself as: options in a fixed order, `--`,
//! COMMAND.
//!
//! Read by hand, before the command line for people is even built: that costs more than all else
//! a guard does before COMMAND.

use std::ffi::OsString;
use std::str::FromStr;
use std::vec::IntoIter;

/// The arguments that are not read yet.
#[derive(Debug)]
pub struct Words(IntoIter<OsString>);

impl Words {
    /// The words that it is started with, after `guard`.
    pub fn new(words: Vec<OsString>) -> Self {
        Self(words.into_iter())
    }

    /// The number in the next word, which begins with `option`.
    pub fn number<N: FromStr>(&mut self, option: &str) -> Option<N> {
        self.0.next()?.to_str()?.strip_prefix(option)?.parse().ok()
    }

    /// The rest, after `--`.
    pub fn command(mut self) -> Option<Vec<OsString>> {
        let separator = self.0.next()?;
        let command: Vec<OsString> = self.0.collect();
        (separator == "--" && !command.is_empty()).then_some(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Words {
        Words::new(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn options_come_in_their_order_and_then_command() {
        let mut read = words(&["--a=1", "--b=-2", "--", "true", "--", "-x"]);
        assert_eq!(read.number("--a="), Some(1_u64));
        assert_eq!(read.number("--b="), Some(-2_i32));
        assert_eq!(read.command(), Some(vec!["true".into(), "--".into(), "-x".into()]));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(words(&["--b=1"]).number::<u64>("--a="), None);
        assert_eq!(words(&["--a=x"]).number::<u64>("--a="), None);
        assert_eq!(words(&[]).number::<u64>("--a="), None);
        assert_eq!(words(&["true"]).command(), None);
        assert_eq!(words(&["--"]).command(), None);
    }
}
