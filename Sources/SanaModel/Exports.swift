// Whoever uses the model uses its bytes, JSON and errors.
@_exported import SanaBase
