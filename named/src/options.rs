//! Options of an operation, read without the command line's parser: in a browser's package that would weigh as much as some
//! families of kernels. The structs are the same.

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
    pub fn value<T: Value>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(value) = self.values(name).pop() else { return Ok(None) };
        T::read(&value).map(Some).map_err(|why| self.refusal(name, &value, &why))
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

/// A value of one option.
pub trait Value: Sized {
    /// Reads it as it was given, or says why it is none.
    fn read(text: &str) -> Result<Self, String>;
}

/// Values that are read as the command line reads them.
macro_rules! as_parsed {
    ($($type:ty),*) => {$(
        impl $crate::options::Value for $type {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|why| format!("{why}"))
            }
        }
    )*};
}
pub(crate) use as_parsed;

as_parsed!(bool, usize, u64, String);

impl Value for f32 {
    fn read(text: &str) -> Result<Self, String> {
        decimal(text).ok_or_else(|| "expected a number".to_owned())
    }
}

/// The f32 that a text says, to within a unit in the last place of an f64: so exactly, where the text is of an f32, which is
/// what the package's JavaScript gives. The standard library is exact for every text; its tables for that would be 10 KB of a
/// browser's package.
pub fn decimal(text: &str) -> Option<f32> {
    let (sign, size) = text.strip_prefix('-').map_or((1.0, text), |size| (-1.0, size));
    let (digits, exponent) = size.split_once('e').unwrap_or((size, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let mut mantissa = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        mantissa = mantissa * 10.0 + f64::from(digit.to_digit(10)?);
    }
    let scale = 10.0_f64.powi(exponent.saturating_abs());
    let size = if exponent < 0 { mantissa / scale } else { mantissa * scale };
    (!digits.is_empty() && digits != ".").then_some((sign * size) as f32)
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

impl<T: Value> Take for Option<T> {
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
    fn every_f32_is_read_as_it_is_written() {
        let mut bits = 1_u32;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
            let value = f32::from_bits(bits);
            if value.is_finite() {
                // As JavaScript writes it, an f64: plainly, or with an exponent.
                for text in [format!("{}", f64::from(value)), format!("{:e}", f64::from(value))] {
                    assert_eq!(decimal(&text).map(f32::to_bits), Some(bits), "{text}");
                }
            }
        }
        assert_eq!(
            ["0", "-0.5", "17", "1e+21", "1e-400"].map(decimal),
            [0.0, -0.5, 17.0, 1e21, 0.0].map(Some)
        );
        assert_eq!(
            ["", ".", "-", "e5", "1e", "1.2.3", "much", "NaN", "0x10", "1 2"].map(decimal),
            [None; 10]
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(read(&["--flags", "--count=1"]).unwrap_err(), "thing has no option flags");
        assert_eq!(read(&[]).unwrap_err(), "thing needs the option count");
        let message = read(&["--number=much"]).unwrap_err();
        assert!(message.starts_with("thing: number is \"much\": "), "{message}");
    }
}
