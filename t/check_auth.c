#include "t/suite.h"
#include "wssink/auth.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A directory of the test, and a file in it. */
static char directory[] = "/tmp/check_auth.XXXXXX";
static char path[64];

static void
make_directory(void)
{
	ck_assert_ptr_nonnull(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/file", directory);
}

static void
remove_directory(void)
{
	(void)unlink(path);
	ck_assert_int_eq(rmdir(directory), 0);
}

static void
write_bytes(const char *text, size_t bytes)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(text, 1, bytes, file), bytes);
	ck_assert_int_eq(fclose(file), 0);
}

static void
write_text(const char *text)
{
	write_bytes(text, strlen(text));
}

/* Reads the sources once; what is wrong with them is `wanted`, or nothing. */
static void
assert_read(const struct auth_sources *sources, const char *wanted)
{
	char why[AUTH_WHY_BYTES] = "";
	struct auth auth;

	auth_init(&auth, sources);
	if (auth_read(&auth, why) == 0)
		ck_assert_msg(wanted == NULL, "taken, without: %s", wanted);
	else
		ck_assert_msg(wanted != NULL && strstr(why, wanted) != NULL,
		    "wanted %s: %s", wanted, why);
	auth_fini(&auth);
}

START_TEST(test_all_sources_are_put_together)
{
	static const char *const headers[] = {"X-One: 1"};
	char why[AUTH_WHY_BYTES];
	struct auth_sources sources = {
	    .headers = headers,
	    .header_count = 1,
	    .files[AUTH_HEADER_FILE] = path,
	    .user = "Aladdin",
	    .password = "open sesame",
	};
	struct auth auth;

	write_text("X-Two: 2\r\n\n\r\nX-Three: 3");
	auth_init(&auth, &sources);
	ck_assert_int_eq(auth_read(&auth, why), 0);
	ck_assert_uint_eq(auth.header_count, 4);
	ck_assert_str_eq(auth.headers[0], "X-One: 1");
	ck_assert_str_eq(auth.headers[1], "X-Two: 2");
	ck_assert_str_eq(auth.headers[2], "X-Three: 3");
	ck_assert_str_eq(auth.headers[3],
	    "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
	ck_assert_ptr_null(auth.proxy_user);
	auth_fini(&auth);
}
END_TEST

START_TEST(test_first_lines)
{
	char why[AUTH_WHY_BYTES];
	struct auth_sources sources = {.files[AUTH_BEARER_FILE] = path};
	struct auth auth;

	write_text("abc|d:e==\nmore\n");
	auth_init(&auth, &sources);
	ck_assert_int_eq(auth_read(&auth, why), 0);
	ck_assert_str_eq(auth.headers[0], "Authorization: Bearer abc|d:e==");
	auth_fini(&auth);

	sources = (struct auth_sources){.files[AUTH_PROXY_FILE] = path};
	write_text("me:with:colon\r\n");
	auth_init(&auth, &sources);
	ck_assert_int_eq(auth_read(&auth, why), 0);
	ck_assert_uint_eq(auth.header_count, 0);
	ck_assert_str_eq(auth.proxy_user, "me");
	ck_assert_str_eq(auth.proxy_password, "with:colon");
	auth_fini(&auth);
}
END_TEST

START_TEST(test_what_is_at_fault_is_named_without_its_secrets)
{
	const struct auth_sources header = {.files[AUTH_HEADER_FILE] = path};
	const struct auth_sources basic = {.files[AUTH_BASIC_FILE] = path};
	const struct auth_sources bearer = {.files[AUTH_BEARER_FILE] = path};
	const struct auth_sources proxy = {.files[AUTH_PROXY_FILE] = path};
	const struct auth_sources two = {
	    .files[AUTH_BEARER_FILE] = path, .user = "u", .password = ""};
	const struct auth_sources three = {
	    .files[AUTH_HEADER_FILE] = path, .user = "u", .password = ""};
	const struct {
		const struct auth_sources *sources;
		const char *text;
		const char *wanted;
	} cases[] = {
	    {&header, "", NULL},
	    {&header, "X: 1\nsecret\n", "file:2: not of the form"},
	    {&header, "Host: secret\n", "file:1: the handshake writes"},
	    {&header, "X: secret\x01\n", "file:1: a control character"},
	    {&basic, "secret\n", "--basic-auth-file"},
	    {&basic, "", "--basic-auth-file"},
	    {&basic, "u:\n", NULL},
	    {&bearer, "", "--bearer-auth-file"},
	    {&bearer, "\nsecret\n", "--bearer-auth-file"},
	    {&bearer, "two secret\n", "--bearer-auth-file"},
	    {&bearer, "secret\xc3\xa9\n", "--bearer-auth-file"},
	    {&proxy, "secret\n", "--proxy-auth-file"},
	    {&two, "secret\n", "more than one of"},
	    {&three, "authorization: secret\n", "more than one of"},
	    {&three, "X-Authorization: 1\n", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char why[AUTH_WHY_BYTES] = "";
		struct auth auth;

		write_text(cases[i].text);
		assert_read(cases[i].sources, cases[i].wanted);
		auth_init(&auth, cases[i].sources);
		(void)auth_read(&auth, why);
		ck_assert_ptr_null(strstr(why, "secret"));
		auth_fini(&auth);
	}
	write_bytes("X: a\0b\n", 7);
	assert_read(&header, "a NUL");
	ck_assert_int_eq(unlink(path), 0);
	assert_read(&header, "No such file");
}
END_TEST

START_TEST(test_headers_are_held_to_the_cap)
{
	struct auth_sources sources = {.files[AUTH_HEADER_FILE] = path};
	char text[8 * AUTH_HEADERS + 32] = "";

	for (size_t i = 0; i < AUTH_HEADERS; i++)
		strcat(text, "X: 1\n");
	write_text(text);
	assert_read(&sources, NULL);
	sources.user = "u";
	sources.password = "p";
	assert_read(&sources, "more than 64 headers");
}
END_TEST

/* A token that was replaced is taken; one that cannot be read leaves what was
 * there. */
START_TEST(test_files_are_read_anew)
{
	char why[AUTH_WHY_BYTES];
	struct auth_sources sources = {.files[AUTH_BEARER_FILE] = path};
	struct auth auth;

	auth_init(&auth, &sources);
	write_text("one\n");
	ck_assert_int_eq(auth_read(&auth, why), 0);
	write_text("two\n");
	ck_assert_int_eq(auth_read(&auth, why), 0);
	ck_assert_uint_eq(auth.header_count, 1);
	ck_assert_str_eq(auth.headers[0], "Authorization: Bearer two");
	write_text("\n");
	ck_assert_int_eq(auth_read(&auth, why), -1);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(auth_read(&auth, why), -1);
	ck_assert_str_eq(auth.headers[0], "Authorization: Bearer two");
	auth_fini(&auth);
}
END_TEST

/* What a shell gives as <(...) has its text once. */
START_TEST(test_a_pipe_is_read_once)
{
	char name[32], why[AUTH_WHY_BYTES];
	struct auth_sources sources = {.files[AUTH_BEARER_FILE] = name};
	struct auth auth;
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(write(ends[1], "once\n", 5), 5);
	ck_assert_int_eq(close(ends[1]), 0);
	(void)snprintf(name, sizeof(name), "/dev/fd/%d", ends[0]);
	auth_init(&auth, &sources);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(auth_read(&auth, why), 0);
		ck_assert_str_eq(auth.headers[0], "Authorization: Bearer once");
	}
	auth_fini(&auth);
	ck_assert_int_eq(close(ends[0]), 0);

	/* A file that has become a pipe would be waited for, for ever. */
	sources.files[AUTH_BEARER_FILE] = path;
	write_text("file\n");
	ck_assert_int_eq(auth_read(&auth, why), 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(auth_read(&auth, why), 0);
	ck_assert_str_eq(auth.headers[0], "Authorization: Bearer file");
	auth_fini(&auth);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("auth");
	TCase *tests = tcase_create("auth");

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, make_directory, remove_directory);
	tcase_add_test(tests, test_all_sources_are_put_together);
	tcase_add_test(tests, test_first_lines);
	tcase_add_test(
	    tests, test_what_is_at_fault_is_named_without_its_secrets);
	tcase_add_test(tests, test_headers_are_held_to_the_cap);
	tcase_add_test(tests, test_files_are_read_anew);
	tcase_add_test(tests, test_a_pipe_is_read_once);
	return suite_run(suite);
}
