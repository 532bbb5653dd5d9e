"""The forms that make and change a task of the tasks API.

A form is one way to write the JSON body of a request to the API. The API's own reader
checks that body, so each rule stands once, and the command that the page shows does what
the form does. This is why this folder, like that of calendars, imports the API.
"""
