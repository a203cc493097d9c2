/*
 * What the main of every unit test does: one suite, one line of result.
 */
#ifndef T_SUITE_H
#define T_SUITE_H

#include <check.h>
#include <stdlib.h>

/* Runs the suite `suite`, frees it, and returns what main returns. */
static inline int
suite_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
