/*
 * MUST: ck_assert_msg for loops. Check's own notes in a file each time that it
 * was passed, which takes most of the time of a test that asks often.
 */
#ifndef T_MUST_H
#define T_MUST_H

#include <check.h>

#define MUST(condition, ...) \
	do { \
		if (!(condition)) \
			ck_abort_msg(__VA_ARGS__); \
	} while (0)

#endif
