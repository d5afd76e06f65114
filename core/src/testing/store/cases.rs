//! The cases of the suite, each a function whose name is the promise that it tries.

#![allow(missing_docs, reason = "a case's name says what it tries")]

mod accept;
mod checkpoint;
mod claim;
mod document;
mod end;
mod expiry;
mod list;
mod log;
mod sweep;
mod update;
mod watch;

/// Every case, by its subject's module. A function there that is missing here is dead code, and the
/// compiler says so.
#[macro_export]
#[doc(hidden)]
macro_rules! __store_cases {
    ($($then:tt)*) => {
        $($then)*! {
            accept {
                a_job_comes_back_as_it_was_accepted
                a_job_that_was_never_accepted_is_unknown
                a_job_that_is_accepted_again_is_kept_once
                a_second_job_with_a_key_is_told_the_first
                of_many_jobs_with_one_key_at_once_one_is_taken
                jobs_with_different_keys_do_not_meet
                a_key_counts_for_its_time_and_no_longer
                a_key_leads_to_its_own_job_or_to_none_once_that_is_forgotten
                what_comes_for_a_job_that_was_never_accepted_is_refused
            }
            checkpoint {
                a_checkpoint_is_kept
                a_checkpoint_replaces_an_earlier_one_of_its_name
                jobs_and_names_do_not_share_checkpoints
                checkpoints_are_gone_after_the_end
            }
            claim {
                jobs_of_the_same_process_are_not_claimed
                each_job_is_claimed_once_the_oldest_first
                a_job_that_two_claim_at_once_is_given_to_one
                a_claimed_job_comes_with_the_end_of_its_log
                a_claimed_job_says_whether_it_is_to_be_cancelled
                a_claimed_job_is_claimed_again_after_another_death
                ended_jobs_are_not_claimed
            }
            document {
                a_document_comes_back_as_it_was_put
                documents_are_listed_by_their_keys
                a_list_of_documents_goes_on_after_any_key
                namespaces_do_not_meet
                a_document_is_only_made_where_none_is_expected
                a_document_is_only_changed_from_the_revision_that_is_expected
                a_document_is_only_deleted_as_expected
                revisions_grow_over_deletion_and_restart
                increments_at_once_are_not_lost
                of_many_that_make_a_document_at_once_one_does
            }
            end {
                an_end_takes_the_record_and_the_rest_of_the_log
                an_end_and_its_log_are_seen_together
                an_end_that_is_told_again_changes_nothing
                segments_that_come_again_with_the_end_are_taken_once
                of_two_ends_the_first_counts
                nothing_changes_after_the_end
            }
            expiry {
                a_document_is_gone_when_its_time_is_over
                a_document_whose_time_is_over_counts_as_absent
                a_document_that_is_put_again_has_its_new_time
                documents_whose_time_is_over_leave_no_gaps_in_lists
                a_watcher_is_told_of_a_document_whose_time_is_over
            }
            list {
                jobs_are_listed_newest_first
                each_filter_lets_through_what_it_says
                a_summary_is_the_record_without_what_may_be_large
                pages_stay_in_step_while_jobs_come_and_go
            }
            log {
                a_log_is_read_from_every_position
                a_log_without_events_is_empty
                ids_may_skip_between_segments
                segments_that_are_appended_again_are_taken_once
                a_segment_may_be_larger_than_others
                a_long_log_is_read_from_anywhere
                logs_of_many_jobs_grow_while_they_are_read
            }
            sweep {
                nothing_is_forgotten_that_fits_every_limit
                jobs_that_ended_long_ago_are_forgotten
                the_jobs_that_ended_first_are_forgotten_first
                jobs_are_forgotten_until_the_rest_fits_its_space
                what_is_told_again_takes_no_more_space
                jobs_that_have_not_ended_take_space_and_stay
                a_forgotten_job_leaves_nothing
                many_jobs_are_forgotten_in_steps
                jobs_run_on_while_others_are_forgotten
            }
            update {
                a_change_of_a_job_is_kept
                a_change_of_a_job_leaves_its_log_and_the_other_jobs_alone
                a_cancellation_leaves_the_record_as_it_is
            }
            watch {
                changes_are_told_in_their_order
                nothing_from_before_is_told
                a_watcher_is_told_of_its_own_namespace_only
                what_was_not_done_is_not_told
                changes_at_once_are_told_in_the_order_of_their_revisions
                a_watcher_that_is_behind_is_told_all_or_that_it_missed_some
            }
        }
    };
}

macro_rules! reexport {
    ($($subject:ident { $($case:ident)* })*) => {
        $(pub use self::$subject::{$($case),*};)*
    };
}

__store_cases! { reexport }
