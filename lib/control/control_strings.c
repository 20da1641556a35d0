/* Growing array of owned strings; capacity doubles from 4. */
#include "control/control_strings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	FIRST_CAPACITY = 4,
	FORMATTED_BYTES = 1024,
};

int control_strings_add(struct control_strings *list, const char *text)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : FIRST_CAPACITY;
		char **items = reallocarray(list->items, capacity, sizeof(*items));
		if (!items)
			return -ENOMEM;
		list->items = items;
		list->capacity = capacity;
	}
	char *copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	list->items[list->count++] = copy;
	return 0;
}

int control_strings_addf(struct control_strings *list, const char *format, ...)
{
	char text[FORMATTED_BYTES];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return control_strings_add(list, text);
}

void control_strings_fini(struct control_strings *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct control_strings){0};
}
