"""How an operation outlives a crash: runs in the controller, called by operations; knows no servers and no SQL.

`operation` has the words of a story: steps, undos, the end. `telling` tells stories, resumes and undoes them; `runner`
has the operations told that are this controller's. What is kept is behind the `Journal` of `journal`, which the store
implements, so that a step's result commits together with the rows it changes.
"""
