-- Money that moved: rejected tries left out.
{{ config(materialized='view') }}

select payment_id, order_id, kind, method, amount, currency, paid_at
from bronze.payments
where status = 'captured'
