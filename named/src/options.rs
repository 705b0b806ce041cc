//! Options of an operation, read without the command line's parser: in a browser's package that would weigh as much as some
//! families of kernels. The structs are the same.

use std::fmt::Display;
use std::str::FromStr;

use crate::failure::Failure;

/// Options as they were given: names with underscores, and values as the command line takes them; `true` for a flag.
#[derive(Debug)]
pub struct Given {
    operation: String,
    options: Vec<(String, String)>,
}

impl Given {
    /// Reads words as the command line has them, `--window=17,5` or `--causal`.
    pub fn new(operation: &str, words: impl IntoIterator<Item = String>) -> Self {
        let option = |word: String| {
            let word = word.trim_start_matches("--");
            let (name, value) = word.split_once('=').unwrap_or((word, "true"));
            (name.replace('-', "_"), value.to_owned())
        };
        Self { operation: operation.to_owned(), options: words.into_iter().map(option).collect() }
    }

    /// The values of an option, which is then read.
    fn values(&mut self, name: &str) -> Vec<String> {
        self.options.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    /// The value of an option that is given once at most.
    pub fn value<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(value) = self.values(name).pop() else { return Ok(None) };
        value.parse().map(Some).map_err(|why| self.refusal(name, &value, &format!("{why}")))
    }

    /// Why a value is not taken.
    pub fn refusal(&self, name: &str, value: &str, why: &str) -> Failure {
        Failure::input(format!("{}: {name} is {value:?}: {why}", self.operation))
    }

    /// Fails if there is an option that nobody read.
    pub fn finish(self) -> Result<(), Failure> {
        match self.options.first() {
            Some((name, _)) => Err(Failure::input(format!("{} has no option {name}", self.operation))),
            None => Ok(()),
        }
    }
}

/// What can be read from options: a value by its name, or a struct of them.
pub trait Take: Sized {
    /// Takes it out of what was given.
    fn take(given: &mut Given, name: &str) -> Result<Self, Failure>;
}

impl Take for bool {
    fn take(given: &mut Given, name: &str) -> Result<Self, Failure> {
        Ok(given.value(name)?.unwrap_or(false))
    }
}

impl Take for usize {
    fn take(given: &mut Given, name: &str) -> Result<Self, Failure> {
        let value = given.value(name)?;
        value.ok_or_else(|| Failure::input(format!("{} needs the option {name}", given.operation)))
    }
}

impl<T: FromStr<Err: Display>> Take for Option<T> {
    fn take(given: &mut Given, name: &str) -> Result<Self, Failure> {
        given.value(name)
    }
}

impl Take for Vec<String> {
    fn take(given: &mut Given, name: &str) -> Result<Self, Failure> {
        Ok(given.values(name))
    }
}

/// Declares a struct of options, for the command line and for [`Take`].
macro_rules! options {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type),*
        }

        impl $crate::options::Take for $name {
            #[allow(unused_variables, reason = "some operations have no options")]
            fn take(given: &mut $crate::options::Given, name: &str) -> Result<Self, $crate::Failure> {
                Ok(Self { $($field: $crate::options::Take::take(given, stringify!($field))?),* })
            }
        }
    };
}
pub(crate) use options;

#[cfg(test)]
mod tests {
    use super::*;

    options! {
        #[derive(Debug, PartialEq)]
        struct All {
            flag: bool,
            number: Option<f32>,
            texts: Vec<String>,
            inner: Inner,
        }
    }

    options! {
        #[derive(Debug, PartialEq)]
        struct Inner {
            count: usize,
        }
    }

    fn read(words: &[&str]) -> Result<All, String> {
        let mut given = Given::new("thing", words.iter().map(|word| (*word).to_owned()));
        let all = All::take(&mut given, "").map_err(|failure| failure.to_string())?;
        given.finish().map(|()| all).map_err(|failure| failure.to_string())
    }

    #[test]
    fn options_are_read_by_their_names() {
        let texts = vec!["a".to_owned(), "b=c".to_owned()];
        let all = All { flag: true, number: Some(-1.5), texts, inner: Inner { count: 7 } };
        assert_eq!(read(&["--flag", "--texts=a", "--number=-1.5", "--texts=b=c", "--count=7"]), Ok(all));
        let none = All { flag: false, number: None, texts: vec![], inner: Inner { count: 0 } };
        assert_eq!(read(&["--count=0"]), Ok(none));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(read(&["--flags", "--count=1"]).unwrap_err(), "thing has no option flags");
        assert_eq!(read(&[]).unwrap_err(), "thing needs the option count");
        let message = read(&["--number=much"]).unwrap_err();
        assert!(message.starts_with("thing: number is \"much\": "), "{message}");
    }
}
