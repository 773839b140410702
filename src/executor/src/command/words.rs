//! The words of a configured command: `{name}` filled in, and nothing else.
//!
//! Invariant: a value from the database never becomes an option, a second word or a placeholder.
//! What does not belong here: running anything.

/// Fills `{name}` in the words of a configured command. An argument that only by its value would
/// begin with a dash is refused, since the command would read a run's id as an option.
///
/// # Errors
/// The reason, with what to write instead.
pub(crate) fn fill(template: &[String], values: &[(&str, String)]) -> Result<Vec<String>, String> {
    template
        .iter()
        .map(|word| {
            let filled = fill_word(word, values)?;
            if filled.starts_with('-') && !word.starts_with('-') {
                return Err(format!(
                    "the argument {word:?} would become {filled:?}, which a command reads as an option; \
                     write --option={word} or use the environment variable RUNCHAIN_RUN_ID"
                ));
            }
            Ok(filled)
        })
        .collect()
}

/// One pass from left to right, so that a value that looks like a placeholder stays as it is.
pub(crate) fn fill_word(word: &str, values: &[(&str, String)]) -> Result<String, String> {
    let mut filled = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = values
            .iter()
            .find(|(name, _)| rest[1..].starts_with(&format!("{name}}}")));
        let Some((name, value)) = known else {
            filled.push('{');
            rest = &rest[1..];
            continue;
        };
        if value.contains('\0') {
            return Err(format!(
                "{{{name}}} holds a NUL character, which no argument can carry"
            ));
        }
        filled.push_str(value);
        rest = &rest[name.len() + 2..];
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_never_becomes_an_option_by_accident() {
        let values = |id: &str| vec![("run_id", id.to_owned())];
        let template = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let separate = template(&["tool", "--run", "{run_id}"]);
        let joined = template(&["tool", "--run={run_id}"]);
        assert_eq!(fill(&separate, &values("a b;$(x)")).unwrap()[2], "a b;$(x)");
        assert!(fill(&separate, &values("--help")).unwrap_err().contains("option"));
        assert_eq!(fill(&joined, &values("--help")).unwrap()[1], "--run=--help");
        assert!(fill(&joined, &values("a\0b")).unwrap_err().contains("NUL"));
        assert_eq!(
            fill(&template(&["tool", "{other}"]), &values("x")).unwrap()[1],
            "{other}"
        );
    }
}
