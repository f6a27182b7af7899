"""DICOM files: their headers, their frames, and which of them hold dermoscopy; needs the extra `dicom`.

Nothing of a header leaves this package but what a caller asks for by name: messages and logs hold neither values of
a header nor words of pydicom, which quotes them.
"""
