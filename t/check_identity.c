#include "supervisor/identity.h"
#include "t/suite.h"

#include <check.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A number that no user and no group has. */
#define NOBODYS "3999999999"

/* What is wrong with these two names, or "" if nothing is. */
static const char *
fault_of(const char *user, const char *group)
{
	static char why[IDENTITY_WHY_BYTES];
	struct identity identity = {0};

	why[0] = '\0';
	if (identity_find(&identity, user, group, why) == 0)
		identity_fini(&identity);
	else
		ck_assert_str_ne(why, "");
	return why;
}

static void
find(struct identity *identity, const char *user, const char *group)
{
	char why[IDENTITY_WHY_BYTES] = "";

	*identity = (struct identity){0};
	ck_assert_msg(
	    identity_find(identity, user, group, why) == 0, "%s", why);
}

START_TEST(test_not_given)
{
	struct identity identity;

	find(&identity, NULL, NULL);
	ck_assert(!identity.is_given);
	identity_fini(&identity);
}
END_TEST

START_TEST(test_unknown_names)
{
	ck_assert_ptr_nonnull(strstr(fault_of("no-such-user", NULL),
	    "there is no user \"no-such-user\""));
	ck_assert_ptr_nonnull(strstr(fault_of(NULL, "no-such-group"),
	    "there is no group \"no-such-group\""));
	/* -1 stands for nobody at all. */
	ck_assert_str_ne(fault_of("4294967295", "0"), "");
	ck_assert_str_ne(fault_of("0", "4294967295"), "");
	ck_assert_str_ne(fault_of("-1", "0"), "");
}
END_TEST

/* A failed call leaves what was there. */
START_TEST(test_left_as_it_was)
{
	struct identity identity = {.uid = 7, .gid = 8};
	char why[IDENTITY_WHY_BYTES];

	ck_assert_int_eq(
	    identity_find(&identity, "no-such-user", NULL, why), -1);
	ck_assert_uint_eq(identity.uid, 7);
	ck_assert_uint_eq(identity.gid, 8);
	ck_assert_ptr_null(identity.groups);
}
END_TEST

static bool
has_group(const struct identity *identity, gid_t gid)
{
	for (size_t i = 0; i < identity->group_count; i++)
		if (identity->groups[i] == gid)
			return true;
	return false;
}

/* Root's own tests: only root can become another. */
START_TEST(test_another_user)
{
	const struct passwd *nobody = getpwnam("nobody");
	const struct group *tty = getgrnam("tty");
	struct identity by_name, by_number, with_group, only_group;
	char number[16];

	if (geteuid() != 0)
		return;
	ck_assert_ptr_nonnull(nobody);
	ck_assert_ptr_nonnull(tty);
	(void)snprintf(number, sizeof(number), "%u", (unsigned)nobody->pw_uid);
	find(&by_name, "nobody", NULL);
	find(&by_number, number, NULL);
	find(&with_group, "nobody", "tty");
	find(&only_group, NULL, "tty");
	ck_assert(by_name.is_given && by_number.is_given);
	ck_assert_uint_eq(by_name.uid, nobody->pw_uid);
	ck_assert_uint_eq(by_name.gid, nobody->pw_gid);
	ck_assert(has_group(&by_name, nobody->pw_gid));
	ck_assert_uint_eq(by_number.uid, by_name.uid);
	ck_assert_uint_eq(by_number.gid, by_name.gid);
	ck_assert_uint_eq(by_number.group_count, by_name.group_count);
	ck_assert_uint_eq(with_group.uid, nobody->pw_uid);
	ck_assert_uint_eq(with_group.gid, tty->gr_gid);
	ck_assert(has_group(&with_group, tty->gr_gid));
	ck_assert(only_group.is_given);
	ck_assert_uint_eq(only_group.uid, 0);
	ck_assert_uint_eq(only_group.gid, tty->gr_gid);
	identity_fini(&by_name);
	identity_fini(&by_number);
	identity_fini(&with_group);
	identity_fini(&only_group);
}
END_TEST

/* None of root's groups goes along, also to a user without a name. */
START_TEST(test_a_number_without_a_name)
{
	struct identity identity;

	if (geteuid() != 0)
		return;
	ck_assert_ptr_nonnull(
	    strstr(fault_of(NOBODYS, NULL), "give \"group\" too"));
	find(&identity, NOBODYS, NOBODYS);
	ck_assert(identity.is_given);
	ck_assert_uint_eq(identity.uid, 3999999999);
	ck_assert_uint_eq(identity.gid, 3999999999);
	ck_assert_uint_eq(identity.group_count, 1);
	ck_assert_uint_eq(identity.groups[0], 3999999999);
	identity_fini(&identity);
}
END_TEST

/* Returns 0 if somebody who is not root is treated as promised. */
static int
try_as_nobody(void)
{
	const struct passwd *nobody = getpwnam("nobody");
	struct identity identity = {0};
	char why[IDENTITY_WHY_BYTES], uid[16], gid[16];

	if (nobody == NULL ||
	    setresgid(nobody->pw_gid, nobody->pw_gid, nobody->pw_gid) == -1 ||
	    setresuid(nobody->pw_uid, nobody->pw_uid, nobody->pw_uid) == -1)
		return 1;
	(void)snprintf(uid, sizeof(uid), "%u", (unsigned)nobody->pw_uid);
	(void)snprintf(gid, sizeof(gid), "%u", (unsigned)nobody->pw_gid);
	if (identity_find(&identity, "root", NULL, why) == 0 ||
	    strstr(why, "only root can run the stages as another user") == NULL)
		return 2;
	if (identity_find(&identity, NULL, "root", why) == 0 ||
	    strstr(why, "only root can run the stages with another group") ==
		NULL)
		return 3;
	if (identity_find(&identity, "nobody", NULL, why) == -1 ||
	    identity_find(&identity, uid, gid, why) == -1 ||
	    identity_find(&identity, NULL, gid, why) == -1)
		return 4;
	return identity.is_given ? 5 : 0;
}

START_TEST(test_only_root_becomes_another)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		return;
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0)
		_exit(try_as_nobody());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("identity");
	TCase *tests = tcase_create("identity");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_not_given);
	tcase_add_test(tests, test_unknown_names);
	tcase_add_test(tests, test_left_as_it_was);
	tcase_add_test(tests, test_another_user);
	tcase_add_test(tests, test_a_number_without_a_name);
	tcase_add_test(tests, test_only_root_becomes_another);
	return suite_run(suite);
}
