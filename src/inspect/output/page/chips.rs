//! The filters of the page of `gallery`: by kind, account and findings, with the style
//! alone.
//!
//! Each filter is a radio button before the list, and its label in the bar; a rule of the
//! style hides what it does not select. No rule has `:has()`: a browser would look through
//! the list for each piece of it that it has read, and 5,000 messages take a minute.
//! Limit: [`MAX_ACCOUNTS`] accounts have a filter of their own.

use std::collections::BTreeSet;
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

    /// The radio buttons, which must stand before the bar and the list: first the kinds,
    /// then the accounts.
    pub(super) fn inputs(&self) -> Markup {
        let all_accounts = (self.shown_accounts().len() > 1).then_some("a");
        html! {
            (input("k", "k"))
            @for id in self.kinds() { (input("k", &id)) }
            @if let Some(id) = all_accounts {
                (input("a", id))
                @for id in self.account_ids() { (input("a", &id)) }
            }
        }
    }

    /// Their labels.
    pub(super) fn labels(&self) -> Markup {
        let kinds = Kind::ALL.into_iter().zip(self.kinds).enumerate();
        let kinds = kinds.filter(|(_, (_, count))| *count > 0);
        html! {
            div.chips role="group" aria-label="Filters" tabindex="0" {
                div role="group" aria-label="Kind" {
                    (label("k", html! { "All" }, Some(self.all())))
                    @for (at, (kind, count)) in kinds {
                        (label(&format!("k{at}"), html! { (kind.plural()) }, Some(count)))
                    }
                    @if self.with_findings > 0 {
                        (label("f", html! { "With findings" }, Some(self.with_findings)))
                    }
                }
                @if self.shown_accounts().len() > 1 {
                    div role="group" aria-label="Account" {
                        (label("a", html! { "Every account" }, None))
                        @for (at, (name, count)) in self.shown_accounts().iter().enumerate() {
                            (label(&format!("a{at}"), html! { bdi { (harmless(name)) } }, Some(*count)))
                        }
                    }
                }
            }
        }
    }

    /// The rules that make the radio buttons select. A message that is open stays, since
    /// a link may have opened it.
    pub(super) fn style(&self) -> String {
        let mut style = String::new();
        let all = ["k".to_owned(), "a".to_owned()];
        for id in all
            .into_iter()
            .chain(self.kinds())
            .chain(self.account_ids())
        {
            // Writing to a String cannot fail.
            let _ = writeln!(
                style,
                "#{id}:checked~.bar label[for={id}]{{background:var(--accent);border-color:var(--accent);\
                 color:var(--on-accent)}}\
                 #{id}:checked~.bar label[for={id}] small{{color:inherit}}\
                 #{id}:focus-visible~.bar label[for={id}]{{outline:2px solid var(--accent);outline-offset:2px}}"
            );
            if id == "k" || id == "a" {
                continue;
            }
            let _ = writeln!(
                style,
                "#{id}:checked~.list .m:not(.{id}):not([open]),\
                 #{id}:checked~.list .day:not(.{id})>h2{{display:none}}"
            );
        }
        self.style_of_two(&mut style);
        style
    }

    /// Where two filters select nothing together, the page says so.
    fn style_of_two(&self, style: &mut String) {
        for account in 0..self.account_ids().count() {
            let of_account = |found: &&(usize, Option<usize>, bool)| found.1 == Some(account);
            let found: Vec<_> = self.together.iter().filter(of_account).collect();
            for id in self.kinds() {
                let is_there = found.iter().any(|found| match id.as_str() {
                    "f" => found.2,
                    id => id == format!("k{}", found.0),
                });
                let both = format!("#{id}:checked~#a{account}:checked~.list ");
                let _ = writeln!(style, "{both}.day:not(.{id}a{account})>h2{{display:none}}");
                if !is_there {
                    let _ = writeln!(style, "{both}.nothing{{display:block}}");
                }
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

    /// The filters beside "All" that select something.
    fn kinds(&self) -> impl Iterator<Item = String> {
        let kinds = self.kinds.iter().enumerate();
        let kinds = kinds.filter(|(_, count)| **count > 0);
        let findings = (self.with_findings > 0).then(|| "f".to_owned());
        kinds.map(|(at, _)| format!("k{at}")).chain(findings)
    }

    fn account_ids(&self) -> impl Iterator<Item = String> {
        let count = self.shown_accounts().len();
        (0..count)
            .filter(move |_| count > 1)
            .map(|at| format!("a{at}"))
    }

    fn shown_accounts(&self) -> &[(String, usize)] {
        self.accounts.get(..MAX_ACCOUNTS).unwrap_or(&self.accounts)
    }
}

/// The first of a group is chosen.
fn input(group: &str, id: &str) -> Markup {
    html! { input.filter type="radio" name=(group) id=(id) checked[group == id]; }
}

fn label(id: &str, text: Markup, count: Option<usize>) -> Markup {
    html! {
        label for=(id) { (text) @if let Some(count) = count { " " small { (count) } } }
    }
}

/// The classes of a message that the rules select by.
pub(super) fn class(facts: &Facts) -> String {
    let mut class = format!("k{}", place(facts.kind));
    if let Some(account) = shown_account(facts) {
        let _ = write!(class, " a{account}");
    }
    if facts.has_findings {
        class.push_str(" f");
    }
    class
}

/// The classes of a day with those messages: theirs, and which of them come together.
pub(super) fn class_of_day<'f>(messages: impl Iterator<Item = &'f Facts>) -> String {
    let mut classes = BTreeSet::new();
    for facts in messages {
        let kind = format!("k{}", place(facts.kind));
        let findings = facts.has_findings.then(|| "f".to_owned());
        let account = shown_account(facts);
        for class in [kind].into_iter().chain(findings) {
            classes.extend(account.map(|account| format!("{class}a{account}")));
            classes.insert(class);
        }
        classes.extend(account.map(|account| format!("a{account}")));
    }
    classes.into_iter().collect::<Vec<_>>().join(" ")
}

fn shown_account(facts: &Facts) -> Option<usize> {
    facts.account.filter(|account| *account < MAX_ACCOUNTS)
}

fn place(kind: Kind) -> usize {
    Kind::ALL
        .iter()
        .position(|known| *known == kind)
        .unwrap_or(0)
}
