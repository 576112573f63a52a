//! 7 · Messages become mails and chat posts.
