// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The attribute that makes a KUnit suite of a module.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// What a test module begins with: assertions that KUnit hears of.
const ASSERTIONS: &str = "
    #[allow(unused_macros)]
    macro_rules! assert {
        ($($arg:tt)+) => { ::kernel::kunit_check!($($arg)+) };
    }
    #[allow(unused_macros)]
    macro_rules! assert_eq {
        ($($arg:tt)+) => { ::kernel::kunit_check_eq!($($arg)+) };
    }
";

fn is_test_attribute(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group))
        if group.delimiter() == Delimiter::Bracket && group.stream().to_string() == "test")
}

pub(crate) fn kunit_tests(suite: TokenStream, ts: TokenStream) -> TokenStream {
    let mut item: Vec<_> = ts.into_iter().collect();
    let body = match item.pop() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => group.stream(),
        _ => panic!("#[kunit_tests] is for a module with a body"),
    };

    let mut tests = Vec::new();
    let mut new: TokenStream = ASSERTIONS.parse().unwrap();
    let mut is_test = false;
    let mut tokens = body.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Punct(punct)
                if punct.as_char() == '#' && is_test_attribute(tokens.peek()) =>
            {
                tokens.next();
                is_test = true;
                continue;
            }
            TokenTree::Ident(ident) if is_test && ident.to_string() == "fn" => {
                tests.push(tokens.peek().expect("Expected a name").to_string());
                is_test = false;
            }
            _ => (),
        }
        new.extend([token]);
    }

    let call = format!(
        "::kernel::kunit_suite! {{ {suite}: [{}] }}",
        tests.join(", ")
    );
    new.extend(call.parse::<TokenStream>().unwrap());
    let mut out: TokenStream = "#[cfg(CONFIG_KUNIT)]".parse().unwrap();
    out.extend(item);
    out.extend([TokenTree::Group(Group::new(Delimiter::Brace, new))]);
    out
}
