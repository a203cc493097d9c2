#include "supervisor/logline.h"

#include "stage/number.h"

#include <cjson/cJSON.h>

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longest program name and pid taken for one. */
#define WORD_BYTES 32
/* Quotes and backslashes double: with all else this stays under a line. */
#define MESSAGE_BYTES ((size_t)1536)

/* Says whether the bytes have the form of a time. */
static bool
is_time(const char *in)
{
	static const char form[] = "0000-00-00T00:00:00.000Z";

	for (size_t i = 0; i < LOGLINE_TIME_BYTES; i++) {
		bool is_digit = in[i] >= '0' && in[i] <= '9';

		if (form[i] == '0' ? !is_digit : in[i] != form[i])
			return false;
	}
	return true;
}

/* Reads "program[pid]". */
static bool
parse_program(const char *in, size_t in_bytes, struct logline *line)
{
	const char *open = memchr(in, '[', in_bytes);
	char digits[WORD_BYTES];
	uint64_t pid;
	size_t n;

	if (open == NULL || open == in || in[in_bytes - 1] != ']')
		return false;
	n = (size_t)(in + in_bytes - 1 - (open + 1));
	if (n >= sizeof(digits))
		return false;
	memcpy(digits, open + 1, n);
	digits[n] = '\0';
	if (number_parse(digits, 1, INT_MAX, &pid) == -1)
		return false;
	line->program = in;
	line->program_bytes = (size_t)(open - in);
	line->pid = (long)pid;
	return true;
}

static bool
parse_level(const char *in, size_t in_bytes, struct logline *line)
{
	for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
		const char *name = log_level_name((enum log_level)level);

		if (strlen(name) != in_bytes || memcmp(name, in, in_bytes) != 0)
			continue;
		line->level = (enum log_level)level;
		return true;
	}
	return false;
}

/* Returns the bytes up to the next space and moves `at` behind it; 0: none. */
static size_t
next_word(const char **at, const char *end, const char **word)
{
	const char *space = memchr(*at, ' ', (size_t)(end - *at));

	*word = *at;
	if (space == NULL)
		return 0;
	*at = space + 1;
	return (size_t)(space - *word);
}

bool
logline_parse(const char *in, size_t in_bytes, struct logline *line)
{
	const char *end = in + in_bytes, *at = in, *word;
	struct logline found;
	size_t bytes;

	bytes = next_word(&at, end, &word);
	if (bytes != LOGLINE_TIME_BYTES || !is_time(word))
		return false;
	found.time = word;
	bytes = next_word(&at, end, &word);
	if (bytes == 0 || !parse_program(word, bytes, &found))
		return false;
	bytes = next_word(&at, end, &word);
	if (bytes == 0 || !parse_level(word, bytes, &found))
		return false;
	found.message = at;
	found.message_bytes = (size_t)(end - at);
	*line = found;
	return true;
}

/* Adds a member that is a string, cut and printable. */
static void
add_text(cJSON *json, const char *name, const char *text, size_t bytes)
{
	char printable[MESSAGE_BYTES];

	(void)log_printable(printable, sizeof(printable), text, bytes);
	(void)cJSON_AddStringToObject(json, name, printable);
}

size_t
logline_put_json(char out[LOGLINE_BYTES], const struct logline *line,
    const char *instance, const char *stage)
{
	cJSON *json = cJSON_CreateObject();
	size_t bytes = line->program_bytes, n;
	char *text;

	if (bytes > WORD_BYTES)
		bytes = WORD_BYTES;
	add_text(json, "time", line->time, LOGLINE_TIME_BYTES);
	(void)cJSON_AddStringToObject(
	    json, "level", log_level_name(line->level));
	add_text(json, "program", line->program, bytes);
	(void)cJSON_AddNumberToObject(json, "pid", (double)line->pid);
	if (instance != NULL)
		(void)cJSON_AddStringToObject(json, "instance", instance);
	if (stage != NULL)
		(void)cJSON_AddStringToObject(json, "stage", stage);
	add_text(json, "message", line->message, line->message_bytes);
	text = cJSON_PrintUnformatted(json);
	n = strlen(text);
	memcpy(out, text, n);
	out[n++] = '\n';
	free(text);
	cJSON_Delete(json);
	return n;
}
