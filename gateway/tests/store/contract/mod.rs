//! The contract of `Store` and `Log`: every test here runs over every store. A file per story.

pub(crate) mod appends;
pub(crate) mod batches;
pub(crate) mod drafts;
pub(crate) mod idempotency;
pub(crate) mod logs;
pub(crate) mod memory;
pub(crate) mod nodes;
pub(crate) mod numbers;
pub(crate) mod retention;
pub(crate) mod settings;
pub(crate) mod texts;

/// Runs each test of the contract over databases made by `$database`.
macro_rules! contract {
    ($database:path) => {
        contract! { $database, drafts:
            changes_are_committed_with_their_events
            events_say_what_followers_need
            different_fields_from_one_base_both_survive
            the_same_field_from_one_base_conflicts
            an_exact_base_must_be_current
            a_base_that_never_was_is_refused
            deleted_drafts_stay_deleted
            a_patch_that_changes_nothing_has_no_event
            limits_hold
            a_list_stands_where_it_says
        }
        contract! { $database, batches:
            an_empty_batch_changes_nothing
            a_refused_write_leaves_nothing_behind
            a_failed_batch_leaves_nothing_behind
            writes_of_a_batch_see_each_other
            appends_and_drafts_share_a_batch
            a_dropped_commit_happens_as_a_whole_or_not_at_all
        }
        contract! { $database, idempotency:
            a_repeated_command_gets_the_same_answer
            a_repeated_command_gets_the_same_answer_after_a_restart
            a_repeated_command_in_one_batch_is_carried_out_once
            ids_are_told_apart_by_user_and_device
            an_id_is_not_taken_for_another_command
            forgotten_commands_are_forgotten
            a_repeated_append_gets_the_same_answer
            one_id_for_several_streams_at_once_is_used_by_one
        }
        contract! { $database, appends:
            appends_get_consecutive_numbers
            priorities_are_kept
            appends_that_cannot_be_kept_are_refused
            a_thousand_writers_to_one_topic_are_all_served
        }
        contract! { $database, nodes:
            nodes_that_append_to_the_same_topics_leave_no_gap
            nodes_that_write_for_one_user_leave_no_gap
            nodes_with_the_same_users_do_not_deadlock
        }
        contract! { $database, memory:
            what_another_node_changed_is_not_taken_for_unchanged
            a_repetition_is_known_although_the_draft_is
            a_repeated_append_among_new_ones_keeps_its_numbers
            nodes_that_remember_answer_like_those_that_do_not
        }
        contract! { $database, logs:
            history_says_where_the_log_stands
            reads_are_paged
            pages_are_bounded_by_bytes
            a_log_that_was_cut_says_so
            a_hole_in_the_log_is_never_jumped
            positions_beyond_everything_are_empty
            many_streams_are_answered_in_order
            the_epoch_stays
            what_is_kept_takes_room
        }
        contract! { $database, texts:
            texts_survive_as_they_are
            the_longest_names_are_kept
            no_key_of_a_content_has_a_meaning
            a_row_that_means_nothing_fails_the_call
            a_closed_store_is_unavailable
        }
        contract! { $database, numbers: numbers_keep_their_text }
        contract! { $database, retention:
            logs_are_cut_by_number
            logs_are_cut_by_age_up_to_the_first_that_is_young_enough
            every_stream_of_a_kind_has_its_turn
            what_was_cut_is_deleted_by_whoever_comes_next
            the_time_is_about_that_of_this_machine
            one_node_leads_retention
            cutting_disturbs_neither_writers_nor_readers
        }
        contract! { $database, settings:
            a_setting_changes_with_its_event
            changes_of_several_nodes_are_in_one_order
        }
    };
    ($database:path, $suite:ident: $($test:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let database = $database().await;
                crate::contract::$suite::$test(&database).await;
            }
        )*
    };
}
pub(crate) use contract;
