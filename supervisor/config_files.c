#include "supervisor/config_files.h"

#include "stage/io.h"
#include "stage/mem.h"
#include "supervisor/program.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the name of a file with a query ends in. */
#define QUERY_ENDING ".trickle"

/* Adds a fault that says why `path` cannot be read, as errno has it. */
static void
refuse_path(const char *path, struct faults *faults)
{
	struct place place = {.file = path, .line = 1, .column = 1};

	if (errno == EFBIG)
		faults_add(faults, &place, "the file is over %zu bytes long",
		    CONFIG_FILE_BYTES);
	else
		faults_add(
		    faults, &place, "it cannot be read: %s", strerror(errno));
}

/* Returns the directory that `path` stands in, without symbolic links; the
 * caller frees it. NULL with errno set if there is none. */
static char *
directory_of(const char *path)
{
	char *copy = mem_strdup(path);
	char *resolved = realpath(dirname(copy), NULL);

	free(copy);
	return resolved;
}

/* Says whether reading a file could mean to wait for who writes it. */
static bool
may_wait(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISREG(st.st_mode) &&
	       !S_ISDIR(st.st_mode);
}

static bool
has_ending(const char *path, const char *ending)
{
	const char *dot = strrchr(path, '.');

	return dot != NULL && strcmp(dot, ending) == 0;
}

/* Gives the bytes of a file to whoever reads its kind. */
static void
add_bytes(struct config *config, const char *path, const char *base,
    const char *text, size_t bytes, struct faults *faults)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	const uint8_t *in = (const uint8_t *)text;
	char *id;

	if (!has_ending(name, QUERY_ENDING)) {
		config_add(config, path, base, in, bytes, faults);
		return;
	}
	id = mem_strndup(name, strlen(name) - strlen(QUERY_ENDING));
	config_add_query(config, path, base, id, in, bytes, faults);
	free(id);
}

/* Adds a file; if `is_prompt` only one that is read without waiting. */
static void
add_file(struct config *config, const char *path, bool is_prompt,
    struct faults *faults)
{
	struct place place = {.file = path, .line = 1, .column = 1};
	size_t bytes = 0;
	char *text, *base;

	if (is_prompt && may_wait(path)) {
		faults_add(faults, &place, "it is no regular file");
		return;
	}
	text = io_read_file(path, CONFIG_FILE_BYTES, &bytes);
	base = text == NULL ? NULL : directory_of(path);
	if (base == NULL)
		refuse_path(path, faults);
	else
		add_bytes(config, path, base, text, bytes, faults);
	free(text);
	free(base);
}

static int
is_config_name(const struct dirent *entry)
{
	const char *name = entry->d_name;

	return name[0] != '.' &&
	       (has_ending(name, ".yaml") || has_ending(name, ".yml") ||
		   has_ending(name, QUERY_ENDING));
}

static int
compare_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void
add_directory(struct config *config, const char *path, struct faults *faults)
{
	struct place place = {.file = path, .line = 1, .column = 1};
	struct dirent **entries;
	int count = scandir(path, &entries, is_config_name, compare_bytes);

	if (count == -1) {
		refuse_path(path, faults);
		return;
	}
	if (count == 0)
		faults_add(faults, &place,
		    "the directory holds no .yaml, .yml or .trickle file");
	for (int i = 0; i < count; i++) {
		char *name = mem_printf("%s/%s", path, entries[i]->d_name);

		add_file(config, name, true, faults);
		free(name);
		free(entries[i]);
	}
	free(entries);
}

void
config_files_add(struct config *config, const char *path, bool is_live,
    struct faults *faults)
{
	struct stat st;

	if (stat(path, &st) == -1)
		refuse_path(path, faults);
	else if (S_ISDIR(st.st_mode))
		add_directory(config, path, faults);
	else
		add_file(config, path, is_live, faults);
}

/* Refuses a command whose program is not there, or cannot be run. */
static void
check_command(const struct config_onramp *onramp, struct faults *faults)
{
	const struct word_list *list = &onramp->command;
	char *path;

	if (list->count == 0)
		return;
	path = program_find(list->words[0]);
	if (path == NULL)
		faults_add(faults, &list->place,
		    "command: %s cannot be found in PATH: %s", list->words[0],
		    strerror(errno));
	else if (!program_can_run(path))
		faults_add(faults, &list->place,
		    "command: %s cannot be executed: %s", path,
		    strerror(errno));
	free(path);
}

void
config_files_check(const struct config *config, struct faults *faults)
{
	for (size_t i = 0; i < config->onramp_count; i++)
		check_command(config->onramps[i], faults);
	for (size_t i = 0; i < config->offramp_count; i++) {
		const struct key *key = keys_of(KEYS_WS);

		for (; key->name != NULL; key++) {
			const struct value *value =
			    keys_value(key, config->offramps[i]);

			if (key->type != KEY_FILE || !value->is_given ||
			    access(value->text, R_OK) == 0)
				continue;
			faults_add(faults, &value->place,
			    "%s: %s cannot be read: %s", key->name, value->text,
			    strerror(errno));
		}
	}
}
