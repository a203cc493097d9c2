/*
 * The table of a status from any JSON: always lines of printable ASCII.
 */
#include "supervisor/table.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	cJSON *json = cJSON_ParseWithLength((const char *)data, bytes);
	char *text;
	size_t n;

	if (json == NULL)
		return 0;
	text = table_put(json, INT64_C(1769860800000000000));
	n = strlen(text);
	assert(n > 0 && text[n - 1] == '\n');
	for (size_t i = 0; i < n; i++)
		assert(text[i] == '\n' || (text[i] >= ' ' && text[i] < 127));
	free(text);
	cJSON_Delete(json);
	return 0;
}
