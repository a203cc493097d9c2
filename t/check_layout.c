#include "t/suite.h"
#include "walproc/layout.h"

#include <check.h>
#include <string.h>

#define SALT UINT64_C(0x0123456789abcdef)
#define OFFSET UINT64_C(1024)
#define SEQ UINT64_C(7)

static const struct layout_segment segment = {
    .log_id = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
    .first_seq = 0x1122334455667788,
    .salt = SALT,
    .created_ns = 1700000000000000000,
};

static const struct layout_batch batch = {
    .body_bytes = 130,
    .count = 2,
    .first_seq = SEQ,
    .durable_seq = SEQ - 1,
    .realtime_ns = 1700000000000000001,
};

static const struct layout_cursor cursor = {
    .log_id = {16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1},
    .generation = 3,
    .acked_seq = 100,
    .delivered = 90,
    .rejected = 5,
    .dropped = 3,
    .quarantined = 2,
    .refused = 11,
    .dropped_newest = 12,
    .durable_seq = 101,
    .letters_bytes = 102,
};

/* What is on users' disks must stay readable: the bytes are frozen here. */
START_TEST(test_segment_header_bytes)
{
	static const uint8_t start[48] = {0x89, 'W', 'P', 'S', 'E', 'G', '\r',
	    '\n', 0, 2, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
	    13, 14, 15, 16, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
	    0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
	uint8_t raw[LAYOUT_SEGMENT_BYTES];
	struct layout_segment got;

	layout_put_segment(raw, &segment);
	ck_assert_mem_eq(raw, start, sizeof(start));
	ck_assert_int_eq(layout_get_segment(raw, &got), LAYOUT_OK);
	ck_assert_mem_eq(got.log_id, segment.log_id, LAYOUT_LOG_ID_BYTES);
	ck_assert(got.first_seq == segment.first_seq);
	ck_assert(got.salt == segment.salt);
	ck_assert(got.created_ns == segment.created_ns);
}
END_TEST

START_TEST(test_batch_header_bytes)
{
	static const uint8_t whole[LAYOUT_BATCH_BYTES] = {'W', 'P', 'B', 'H', 0,
	    0, 0, 130, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0,
	    0, 0, 0, 0, 6, 0x17, 0x97, 0x9c, 0xfe, 0x36, 0x2a, 0x00, 0x01};
	uint8_t raw[LAYOUT_BATCH_BYTES];
	struct layout_batch got = {0};

	layout_put_batch(raw, &batch, SALT, OFFSET);
	ck_assert_mem_eq(raw, whole, 40);
	ck_assert_int_eq(layout_get_batch(raw, SALT, OFFSET, &got), LAYOUT_OK);
	ck_assert_mem_eq(&got, &batch, sizeof(batch));
}
END_TEST

/* The only flag that there is. */
START_TEST(test_a_known_gap_is_a_flag)
{
	uint8_t raw[LAYOUT_BATCH_BYTES];
	struct layout_batch with = batch, got = {0};

	with.is_gap_known = true;
	layout_put_batch(raw, &with, SALT, OFFSET);
	ck_assert_uint_eq(raw[15], 1);
	ck_assert_int_eq(layout_get_batch(raw, SALT, OFFSET, &got), LAYOUT_OK);
	ck_assert(got.is_gap_known);
}
END_TEST

START_TEST(test_cursor_keeps_all_fields)
{
	uint8_t raw[LAYOUT_CURSOR_BYTES];
	struct layout_cursor got;

	layout_put_cursor(raw, &cursor);
	ck_assert_int_eq(layout_get_cursor(raw, &got), LAYOUT_OK);
	ck_assert_mem_eq(&got, &cursor, sizeof(cursor));
}
END_TEST

START_TEST(test_each_bit_flipped_in_a_segment_header_is_bad)
{
	uint8_t raw[LAYOUT_SEGMENT_BYTES];
	struct layout_segment got;

	for (size_t bit = 0; bit < 8 * sizeof(raw); bit++) {
		layout_put_segment(raw, &segment);
		raw[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(layout_get_segment(raw, &got), LAYOUT_BAD);
	}
}
END_TEST

START_TEST(test_each_bit_flipped_in_a_batch_header_is_bad)
{
	uint8_t raw[LAYOUT_BATCH_BYTES];
	struct layout_batch got;

	for (size_t bit = 0; bit < 8 * sizeof(raw); bit++) {
		layout_put_batch(raw, &batch, SALT, OFFSET);
		raw[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(
		    layout_get_batch(raw, SALT, OFFSET, &got), LAYOUT_BAD);
	}
}
END_TEST

START_TEST(test_each_bit_flipped_in_a_cursor_slot_is_bad)
{
	uint8_t raw[LAYOUT_CURSOR_BYTES];
	struct layout_cursor got;

	for (size_t bit = 0; bit < 8 * sizeof(raw); bit++) {
		layout_put_cursor(raw, &cursor);
		raw[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(layout_get_cursor(raw, &got), LAYOUT_BAD);
	}
}
END_TEST

/* A block that lands elsewhere, or is left from another file, is no batch. */
START_TEST(test_a_batch_is_bound_to_its_file_and_offset)
{
	uint8_t raw[LAYOUT_BATCH_BYTES];
	struct layout_batch got;

	layout_put_batch(raw, &batch, SALT, OFFSET);
	ck_assert_int_eq(
	    layout_get_batch(raw, SALT + 1, OFFSET, &got), LAYOUT_BAD);
	ck_assert_int_eq(
	    layout_get_batch(raw, SALT, OFFSET + 8, &got), LAYOUT_BAD);
}
END_TEST

START_TEST(test_zeros_are_nothing)
{
	static const uint8_t zeros[LAYOUT_CURSOR_BYTES];
	struct layout_segment header;
	struct layout_batch got;
	struct layout_cursor slot;

	ck_assert_int_eq(layout_get_segment(zeros, &header), LAYOUT_BAD);
	ck_assert_int_eq(
	    layout_get_batch(zeros, SALT, OFFSET, &got), LAYOUT_BAD);
	ck_assert_int_eq(layout_get_cursor(zeros, &slot), LAYOUT_BAD);
}
END_TEST

START_TEST(test_a_record_is_bound_to_event_length_salt_and_number)
{
	static const uint8_t event[] = "{\"a\":1}";
	const uint32_t n = sizeof(event) - 1;
	uint8_t raw[LAYOUT_RECORD_BYTES], changed[sizeof(event)];

	layout_put_record(raw, event, n, SALT, SEQ);
	ck_assert_uint_eq(layout_record_bytes(raw), n);
	ck_assert(layout_is_record(raw, event, n, SALT, SEQ));
	ck_assert(!layout_is_record(raw, event, n - 1, SALT, SEQ));
	ck_assert(!layout_is_record(raw, event, n, SALT + 1, SEQ));
	ck_assert(!layout_is_record(raw, event, n, SALT, SEQ + 1));
	for (size_t bit = 0; bit < 8 * n; bit++) {
		memcpy(changed, event, sizeof(event));
		changed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert(!layout_is_record(raw, changed, n, SALT, SEQ));
	}
}
END_TEST

START_TEST(test_batches_are_aligned)
{
	struct layout_batch b = {.body_bytes = 0};

	ck_assert(layout_batch_bytes(&b) == LAYOUT_BATCH_BYTES);
	b.body_bytes = 1;
	ck_assert(layout_batch_bytes(&b) == LAYOUT_BATCH_BYTES + 8);
	b.body_bytes = UINT32_MAX;
	ck_assert(layout_batch_bytes(&b) == UINT64_C(4294967344));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("layout");
	TCase *tcase = tcase_create("layout");

	tcase_add_test(tcase, test_segment_header_bytes);
	tcase_add_test(tcase, test_batch_header_bytes);
	tcase_add_test(tcase, test_a_known_gap_is_a_flag);
	tcase_add_test(tcase, test_cursor_keeps_all_fields);
	tcase_add_test(tcase, test_each_bit_flipped_in_a_segment_header_is_bad);
	tcase_add_test(tcase, test_each_bit_flipped_in_a_batch_header_is_bad);
	tcase_add_test(tcase, test_each_bit_flipped_in_a_cursor_slot_is_bad);
	tcase_add_test(tcase, test_a_batch_is_bound_to_its_file_and_offset);
	tcase_add_test(tcase, test_zeros_are_nothing);
	tcase_add_test(
	    tcase, test_a_record_is_bound_to_event_length_salt_and_number);
	tcase_add_test(tcase, test_batches_are_aligned);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
