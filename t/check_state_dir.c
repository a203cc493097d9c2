/* Where the state directory is. */
#include "supervisor/state_dir.h"
#include "t/suite.h"

#include <check.h>
#include <stdlib.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

START_TEST(test_state_dir_default)
{
	static const struct {
		struct state_dir_env env;
		const char *path;
	} table[] = {
	    {{"/a:/b", "/x", "/h", false}, "/a"},
	    {{"/a", "/x", "/h", true}, "/a"},
	    {{NULL, "/x", "/h", true}, "/var/lib/walpipe"},
	    {{NULL, "/x", "/h", false}, "/x/walpipe"},
	    {{"", "", "/h", false}, "/h/.local/state/walpipe"},
	    {{"a", "x", "/h", false}, "/h/.local/state/walpipe"},
	    {{NULL, NULL, "h", false}, NULL},
	    {{NULL, NULL, NULL, false}, NULL},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		char *path = state_dir_default(&table[i].env);

		ck_assert_pstr_eq(path, table[i].path);
		free(path);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("state_dir");
	TCase *tests = tcase_create("state_dir");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_state_dir_default);
	return suite_run(suite);
}
