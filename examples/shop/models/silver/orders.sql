-- Orders as they stand, with amounts in euros. Only what changed since the last run is read.
{{ config(materialized='incremental', unique_key='order_id') }}

select
    order_id,
    customer_id,
    status,
    channel,
    currency,
    {{ euros('amount', 'exchange_rate') }} as amount_eur,
    {{ euros('shipping', 'exchange_rate') }} as shipping_eur,
    exchange_rate,
    cast(created_at as date) as ordered_on,
    created_at,
    updated_at
from bronze.shop_orders
{% if is_incremental() %}
where updated_at > (select max(updated_at) from {{ this }})
{% endif %}
