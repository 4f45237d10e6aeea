//! The filters of the page of `gallery`: by kind, account and findings, with the style
//! alone.
//!
//! Each filter is a radio button; a rule of the style hides what it does not select.
//! Limit: [`MAX_ACCOUNTS`] accounts have a filter of their own.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::{Facts, Kind, harmless};

/// Accounts that have a filter of their own.
const MAX_ACCOUNTS: usize = 12;
/// Accounts that are counted; a mail that nobody received could name any.
const MAX_COUNTED: usize = 1000;

/// How many messages each filter selects.
#[derive(Debug, Default)]
pub(super) struct Chips {
    kinds: [usize; 3],
    accounts: Vec<(String, usize)>,
    with_findings: usize,
    /// Which filters select something together: kind, account, findings.
    together: Vec<(usize, Option<usize>, bool)>,
}

impl Chips {
    /// The place of an account in the list of accounts.
    pub(super) fn account(&mut self, name: &str) -> Option<usize> {
        let known = self.accounts.iter().position(|(known, _)| known == name);
        if known.is_none() && self.accounts.len() < MAX_COUNTED {
            self.accounts.push((name.to_owned(), 0));
            return Some(self.accounts.len() - 1);
        }
        known
    }

    /// Counts a message.
    pub(super) fn count(&mut self, facts: &Facts) {
        let kind = place(facts.kind);
        if let Some(count) = self.kinds.get_mut(kind) {
            *count += 1;
        }
        if let Some((_, count)) = facts.account.and_then(|at| self.accounts.get_mut(at)) {
            *count += 1;
        }
        self.with_findings += usize::from(facts.has_findings);
        let found = (kind, facts.account, facts.has_findings);
        if !self.together.contains(&found) {
            self.together.push(found);
        }
    }

    /// Messages that were counted.
    pub(super) fn all(&self) -> usize {
        self.kinds.iter().sum()
    }

    /// The radio buttons.
    pub(super) fn markup(&self) -> Markup {
        let kinds = Kind::ALL.into_iter().zip(self.kinds).enumerate();
        let kinds = kinds.filter(|(_, (_, count))| *count > 0);
        html! {
            form.chips aria-label="Filters" {
                fieldset {
                    legend { "Kind" }
                    (chip("k", "k", html! { "All" }, Some(self.all()), true))
                    @for (at, (kind, count)) in kinds {
                        (chip("k", &format!("k{at}"), html! { (kind.plural()) }, Some(count), false))
                    }
                    @if self.with_findings > 0 {
                        (chip("k", "f", html! { "With findings" }, Some(self.with_findings), false))
                    }
                }
                @if self.shown_accounts().len() > 1 {
                    fieldset {
                        legend { "Account" }
                        (chip("a", "a", html! { "Every account" }, None, true))
                        @for (at, (name, count)) in self.shown_accounts().iter().enumerate() {
                            @let name = html! { bdi { (harmless(name)) } };
                            (chip("a", &format!("a{at}"), name, Some(*count), false))
                        }
                    }
                }
            }
        }
    }

    /// The rules that make the radio buttons select.
    pub(super) fn style(&self) -> String {
        let mut style = String::new();
        let kinds = (0..self.kinds.len()).map(|at| format!("k{at}"));
        let accounts = (0..self.shown_accounts().len()).map(|at| format!("a{at}"));
        for id in kinds.chain(accounts).chain(["f".to_owned()]) {
            // Writing to a String cannot fail.
            let _ = writeln!(
                style,
                "body:has(#{id}:checked) .m:not(.{id}):not(:has(:target)),\
                 body:has(#{id}:checked) .day:not(:has(.{id})):not(:has(:target)){{display:none}}"
            );
        }
        self.style_of_nothing(&mut style);
        style
    }

    /// Where two filters select nothing together, the page says so, and shows no day.
    fn style_of_nothing(&self, style: &mut String) {
        for account in 0..self.shown_accounts().len() {
            let of_account = |found: &&(usize, Option<usize>, bool)| found.1 == Some(account);
            let found: Vec<_> = self.together.iter().filter(of_account).collect();
            let kinds = (0..self.kinds.len()).map(|kind| {
                let is_there = found.iter().any(|found| found.0 == kind);
                (format!("k{kind}"), is_there)
            });
            let findings = ("f".to_owned(), found.iter().any(|found| found.2));
            for (id, is_there) in kinds.chain([findings]) {
                let both = format!("body:has(#a{account}:checked):has(#{id}:checked)");
                let _ = match is_there {
                    true => writeln!(
                        style,
                        "{both} .day:not(:has(.a{account}.{id})):not(:has(:target)){{display:none}}"
                    ),
                    false => writeln!(
                        style,
                        "{both} .nothing{{display:block}}{both} .day:not(:has(:target)){{display:none}}"
                    ),
                };
            }
        }
    }

    /// The totals, as a list of terms.
    pub(super) fn totals(&self) -> Markup {
        html! {
            @for (kind, count) in Kind::ALL.into_iter().zip(self.kinds) {
                @if count > 0 { div { dt { (kind.plural()) } dd { (count) } } }
            }
            @if self.with_findings > 0 {
                div { dt { "With findings" } dd { (self.with_findings) } }
            }
            @if self.accounts.len() > 1 { div { dt { "Accounts" } dd { (self.accounts.len()) } } }
        }
    }

    fn shown_accounts(&self) -> &[(String, usize)] {
        self.accounts.get(..MAX_ACCOUNTS).unwrap_or(&self.accounts)
    }
}

fn chip(group: &str, id: &str, label: Markup, count: Option<usize>, is_chosen: bool) -> Markup {
    html! {
        label {
            input type="radio" name=(group) id=(id) checked[is_chosen];
            span { (label) @if let Some(count) = count { " " small { (count) } } }
        }
    }
}

/// The classes of a message that the rules select by.
pub(super) fn class(facts: &Facts) -> String {
    let mut class = format!("k{}", place(facts.kind));
    if let Some(account) = facts.account.filter(|account| *account < MAX_ACCOUNTS) {
        let _ = write!(class, " a{account}");
    }
    if facts.has_findings {
        class.push_str(" f");
    }
    class
}

fn place(kind: Kind) -> usize {
    Kind::ALL
        .iter()
        .position(|known| *known == kind)
        .unwrap_or(0)
}
