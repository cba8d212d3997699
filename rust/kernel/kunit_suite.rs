// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! KUnit suites in Rust, of any crate.
//!
//! The attribute [`kunit_tests`](macros::kunit_tests) makes a suite of a module and its functions with
//! `#[test]`. A built-in suite runs at boot, one of a module when that is loaded; in both cases only if
//! `kunit.enable=1`. Without `CONFIG_KUNIT=y` there is none.
//!
//! A test function has no arguments, and returns nothing or a [`Result`](crate::error::Result). It
//! fails by an error that it returns, and by `assert!` and `assert_eq!`, which in such a module say
//! where and why, and return from the function. So unlike with the assertions of C, whatever the
//! function had is dropped.
//!
//! C header: [`include/kunit/test.h`](srctree/include/kunit/test.h)
//!
//! Reference: <https://docs.kernel.org/dev-tools/kunit/index.html>
//!
//! # Examples
//!
//! ```
//! #[kernel::macros::kunit_tests(rust_kunit_suite_example)]
//! mod tests {
//!     use kernel::prelude::*;
//!
//!     #[test]
//!     fn adds() {
//!         assert!(1 + 1 > 1);
//!         assert_eq!(1 + 1, 2, "of {} and {}", 1, 1);
//!     }
//!
//!     #[test]
//!     fn allocates() -> Result {
//!         let b = KBox::new(3, GFP_KERNEL)?;
//!         assert_eq!(*b, 3);
//!         Ok(())
//!     }
//! }
//! ```

// The example is compiled as what it is, and its tests run.
#![allow(clippy::test_attr_in_doctest)]

#[cfg(CONFIG_KUNIT)]
use crate::{
    bindings,
    error::{code::*, Error},
    ffi::c_void,
    str::CStr,
};
#[cfg(CONFIG_KUNIT)]
use core::{cell::UnsafeCell, fmt, mem::MaybeUninit, ptr::addr_of};

/// What a test function can return: `()` or [`Result`](crate::error::Result).
#[cfg(CONFIG_KUNIT)]
pub trait Outcome {
    /// Returns what a function returns that said why it failed.
    fn failed() -> Self;

    /// Returns the error if there is one.
    #[doc(hidden)]
    fn error(self) -> Option<Error>;
}

#[cfg(CONFIG_KUNIT)]
impl Outcome for () {
    fn failed() -> Self {}

    fn error(self) -> Option<Error> {
        None
    }
}

#[cfg(CONFIG_KUNIT)]
impl<T> Outcome for Result<T, Error> {
    fn failed() -> Self {
        Err(EINVAL)
    }

    fn error(self) -> Option<Error> {
        self.err()
    }
}

/// Says that the running test failed, and where and why.
///
/// If the current task runs no test, as one that a test started does not, it only goes to the log.
#[cfg(CONFIG_KUNIT)]
#[doc(hidden)]
pub fn fail(file: &'static CStr, line: u32, args: fmt::Arguments<'_>) {
    // SAFETY: It can be called anywhere.
    let test = unsafe { bindings::kunit_get_current_test() };
    if test.is_null() {
        crate::kunit::err(format_args!(
            "    # FAILED at {file}:{line}, outside of the task of a KUnit test: {args}\n"
        ));
        return;
    }

    let location = bindings::kunit_loc {
        file: file.as_char_ptr(),
        line: line as i32,
    };
    let assertion = bindings::kunit_assert {};
    // SAFETY: `test` is the running test. The location and the assertion are used only during the
    // call, and the file name is `'static`. The format function wants no more than the message, for
    // which `%pA` takes `fmt::Arguments`.
    unsafe {
        bindings::__kunit_do_failed_assertion(
            test,
            &location,
            bindings::kunit_assert_type_KUNIT_EXPECTATION,
            &assertion,
            Some(bindings::kunit_fail_assert_format),
            crate::c_str!("%pA\n").as_char_ptr(),
            addr_of!(args).cast::<c_void>(),
        );
    }
}

/// Ends a test: an error is a failure too, unless the test has failed already.
#[cfg(CONFIG_KUNIT)]
#[doc(hidden)]
pub fn finish(outcome: impl Outcome, name: &str, file: &'static CStr, line: u32) {
    let Some(e) = outcome.error() else { return };
    // SAFETY: It can be called anywhere.
    let test = unsafe { bindings::kunit_get_current_test() };
    // SAFETY: It is the running test if it is not null.
    if test.is_null() || unsafe { (*test).status } != bindings::kunit_status_KUNIT_FAILURE {
        fail(file, line, format_args!("{name} returned {e:?}"));
    }
}

/// The cases of a suite, with an empty one at the end.
///
/// # Invariants
///
/// The last one is empty, and the others have a name and a function.
#[cfg(CONFIG_KUNIT)]
#[doc(hidden)]
#[repr(transparent)]
pub struct Cases<const N: usize>(UnsafeCell<[bindings::kunit_case; N]>);

// SAFETY: Only KUnit uses them, which runs one suite at a time.
#[cfg(CONFIG_KUNIT)]
unsafe impl<const N: usize> Sync for Cases<N> {}

#[cfg(CONFIG_KUNIT)]
impl<const N: usize> Cases<N> {
    /// Makes the cases of names and functions; the last of the array is ignored.
    pub const fn new(
        module: &'static [u8],
        cases: [(&'static CStr, unsafe extern "C" fn(*mut bindings::kunit)); N],
    ) -> Self {
        assert!(matches!(module, [.., 0]), "not null-terminated");
        assert!(N > 0, "no last one");
        // SAFETY: All zeros is a valid `kunit_case`: an empty one.
        let mut all: [bindings::kunit_case; N] = unsafe { MaybeUninit::zeroed().assume_init() };
        let mut i = 0;
        while i + 1 < N {
            all[i].name = cases[i].0.as_char_ptr();
            all[i].run_case = Some(cases[i].1);
            // CAST: KUnit does not write to it.
            all[i].module_name = module.as_ptr().cast_mut().cast();
            i += 1;
        }
        // INVARIANT: All but the last were filled in.
        Self(UnsafeCell::new(all))
    }
}

/// A suite.
#[cfg(CONFIG_KUNIT)]
#[doc(hidden)]
#[repr(transparent)]
pub struct Suite(UnsafeCell<bindings::kunit_suite>);

// SAFETY: Only KUnit uses it, which runs one suite at a time.
#[cfg(CONFIG_KUNIT)]
unsafe impl Sync for Suite {}

#[cfg(CONFIG_KUNIT)]
impl Suite {
    /// Makes a suite.
    pub const fn new<const N: usize>(name: &str, cases: &'static Cases<N>) -> Self {
        let name = name.as_bytes();
        // SAFETY: All zeros is a valid `kunit_suite`, before its name and cases are set.
        let mut suite: bindings::kunit_suite = unsafe { MaybeUninit::zeroed().assume_init() };
        assert!(
            name.len() < suite.name.len(),
            "the name of the suite is too long"
        );
        let mut i = 0;
        while i < name.len() {
            suite.name[i] = name[i];
            i += 1;
        }
        suite.test_cases = cases.0.get().cast();
        Self(UnsafeCell::new(suite))
    }
}

/// An entry of the table in which KUnit finds the suites of a module.
#[cfg(CONFIG_KUNIT)]
#[doc(hidden)]
#[repr(transparent)]
pub struct SuiteEntry(pub &'static Suite);

/// Makes a KUnit suite of test functions, for [`kunit_tests`](macros::kunit_tests).
#[doc(hidden)]
#[macro_export]
#[expect(clippy::crate_in_macro_def)]
macro_rules! kunit_suite {
    ($suite:ident: [$($test:ident),+ $(,)?]) => {
        #[cfg(CONFIG_KUNIT)]
        const _: () = {
            const COUNT: usize = [$(stringify!($test)),+].len() + 1;

            unsafe extern "C" fn nothing(_: *mut $crate::bindings::kunit) {}

            static CASES: $crate::kunit_suite::Cases<COUNT> = $crate::kunit_suite::Cases::new(
                crate::__LOG_PREFIX,
                [
                    $((
                        $crate::c_str!(stringify!($test)),
                        {
                            unsafe extern "C" fn run(_: *mut $crate::bindings::kunit) {
                                $crate::kunit_suite::finish(
                                    $test(),
                                    stringify!($test),
                                    $crate::c_str!(file!()),
                                    line!(),
                                );
                            }
                            run
                        },
                    ),)+
                    ($crate::c_str!(""), nothing),
                ],
            );

            static SUITE: $crate::kunit_suite::Suite =
                $crate::kunit_suite::Suite::new(stringify!($suite), &CASES);

            #[used(compiler)]
            #[link_section = ".kunit_test_suites"]
            static ENTRY: $crate::kunit_suite::SuiteEntry = $crate::kunit_suite::SuiteEntry(&SUITE);
        };
    };
}

/// Fails the running test, and returns from the function, unless a condition is true: `assert!` of a
/// test module.
///
/// The function has to return `()` or [`Result`](crate::error::Result). More arguments are a
/// message, as those of [`core::format_args!`].
#[doc(hidden)]
#[macro_export]
macro_rules! kunit_check {
    ($cond:expr $(,)?) => {
        $crate::kunit_check!($cond, "it is false")
    };
    ($cond:expr, $($arg:tt)+) => {
        if !$cond {
            $crate::kunit_suite::fail(
                $crate::c_str!(file!()),
                line!(),
                format_args!("expected {}: {}", stringify!($cond), format_args!($($arg)+)),
            );
            return $crate::kunit_suite::Outcome::failed();
        }
    };
}

/// Fails the running test, and returns from the function, unless two values are equal: `assert_eq!` of
/// a test module.
#[doc(hidden)]
#[macro_export]
macro_rules! kunit_check_eq {
    ($left:expr, $right:expr $(,)?) => {
        $crate::kunit_check_eq!($left, $right, "")
    };
    ($left:expr, $right:expr, $($arg:tt)+) => {
        match (&$left, &$right) {
            (left, right) => {
                if !(*left == *right) {
                    $crate::kunit_suite::fail(
                        $crate::c_str!(file!()),
                        line!(),
                        format_args!(
                            "expected {} == {}: {:?} and {:?} {}",
                            stringify!($left),
                            stringify!($right),
                            left,
                            right,
                            format_args!($($arg)+),
                        ),
                    );
                    return $crate::kunit_suite::Outcome::failed();
                }
            }
        }
    };
}
